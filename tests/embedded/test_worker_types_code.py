"""Where a run's code, folder, settings and slot come from: the same with both types of worker."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.embedded.outcomes import Outcome, outcome
from tests.embedded.runs import gone, process, said, set_state, start
from tests.embedded.two_workers import PREFORK, TYPES, declared, log_of_worker, running
from tests.stack import Stack, finished, get, log, post, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

FLOWS = Path(__file__).parent / "behaviours/code.py"
FLOW_FILE, BESIDE = "flows/behaviours.py", "flows/beside.py"
TEMPORARY = re.compile(r"\S*/tmp-POOL/[^/]*/")
# Deployments whose code is elsewhere; a run without a `working_dir` starts in a temporary folder.
PULLED = """
  - name: cloned-{pool}
    entrypoint: flows/behaviours.py:where
    work_pool: {{name: {pool}, job_variables: {{working_dir: null}}}}
    pull:
      - prefect.deployments.steps.git_clone: {{repository: "file://{root}/repository"}}
  - name: moved-{pool}
    entrypoint: flows/behaviours.py:where
    work_pool: {{name: {pool}}}
    pull:
      - prefect.deployments.steps.set_working_directory: {{directory: "{root}/elsewhere"}}
  - name: limited-{pool}
    entrypoint: flows/behaviours.py:holds
    concurrency_limit: 1
    work_pool: {{name: {pool}}}
"""


def write_code(folder: Path, where: str) -> None:
    """Write flows that say that they are `where` to `folder`.

    They get no `__init__.py`. The stack's own package `flows` has one, so Python would prefer it.
    """
    (folder / "flows").mkdir(parents=True, exist_ok=True)
    source = FLOWS.read_text()
    assert "of the stack" in source
    (folder / FLOW_FILE).write_text(source.replace("of the stack", where))
    (folder / BESIDE).write_text(f"WHERE = {where!r}\n")


def commit(repository: Path) -> None:
    """Commit all files in the folder `repository`, which becomes a Git repository if it is none."""
    author = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    for arguments in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "change"]):
        subprocess.run(["git", *arguments], cwd=repository, check=True)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with a pool of each type, our worker, and code in three places."""
    flows = ("where", "settings", "pauses")
    stack = declared(tmp_path_factory, "code", FLOWS.read_text(), flows)
    lines = "".join(PULLED.format(pool=pool, root=stack.root) for pool in TYPES)
    stack.edit("prefect.yaml", lambda text: text + lines)
    write_code(stack.root, "of the stack")
    write_code(stack.root / "elsewhere", "elsewhere")
    write_code(stack.root / "repository", "of the clone")
    commit(stack.root / "repository")
    with running(stack, PREFORK):
        yield stack


def run(client: httpx.Client, name: str, kind: str, **job_variables: Any) -> Outcome:
    """Run deployment `name` to its end; return its outcome, without names of temporary folders."""
    run_id = start(client, name.format(kind=kind), **job_variables)
    finished(client, run_id)
    seen = outcome(client, run_id, kind)
    return replace(seen, logs=tuple(TEMPORARY.sub("TEMPORARY/", line) for line in seen.logs))


def same(client: httpx.Client, kinds: tuple[str, ...], name: str, **job_variables: Any) -> Outcome:
    """Run a deployment with each type of `kinds`; return the outcome, which has to be the same."""
    outcomes = [run(client, name, kind, **job_variables) for kind in kinds]
    assert outcomes == [outcomes[0]] * len(kinds)
    return outcomes[0]


def log_line(of: Outcome, start: str) -> str:
    """Return the only line of a run's log that begins with `start`."""
    [line] = [line for line in of.logs if line.startswith(start)]
    return line


def test_code_is_cloned_for_each_run(stack: Stack, kinds: tuple[str, ...]) -> None:
    repository = stack.root / "repository"
    with stack.client() as client:
        line = log_line(same(client, kinds, "where/cloned-{kind}"), "code")
        assert line.startswith("code of the clone beside of the clone in ")
        write_code(repository, "of the next commit")
        commit(repository)
        line = log_line(same(client, kinds, "where/cloned-{kind}"), "code")
        assert line.startswith("code of the next commit beside of the next commit in ")


def test_code_is_where_a_pull_step_goes(stack: Stack, kinds: tuple[str, ...]) -> None:
    with stack.client() as client:
        line = log_line(same(client, kinds, "where/moved-{kind}"), "code")
    assert line.startswith("code elsewhere beside elsewhere in ")
    assert line.endswith(f"/{stack.root.name}/elsewhere")


def test_code_is_in_the_working_directory_of_the_run(stack: Stack, kinds: tuple[str, ...]) -> None:
    with stack.client() as client:
        elsewhere = log_line(
            same(client, kinds, "where/{kind}", working_dir=f"{stack.root}/elsewhere"), "code"
        )
        line = log_line(same(client, kinds, "where/{kind}"), "code")
    assert elsewhere.startswith("code elsewhere beside elsewhere in ")
    assert elsewhere.endswith(f"/{stack.root.name}/elsewhere")
    assert line.startswith("code of the stack beside of the stack in ")
    assert line.endswith(f"/{stack.root.name}")


def test_a_working_directory_that_is_not_there_crashes_the_run(
    stack: Stack, kinds: tuple[str, ...]
) -> None:
    with stack.client() as client:
        for kind in kinds:
            run_id = start(client, f"where/{kind}", working_dir=f"{stack.root}/nowhere")
            flow_run = finished(client, run_id)
            assert flow_run["state_type"] == "CRASHED", flow_run["state"]
            message = (
                flow_run["state"]["message"] if kind == PREFORK else log_of_worker(stack, kind)
            )
            assert f"{stack.root}/nowhere" in message
            assert not [each for each in log(client, run_id) if each["message"].startswith("code ")]


@pytest.mark.parametrize(
    ("level", "lines"),
    [
        ("DEBUG", ["debug", "marker none", "warning"]),
        ("INFO", ["marker none", "warning"]),
        ("WARNING", ["warning"]),
    ],
)
def test_a_log_level_holds_in_its_run_and_not_in_the_next(
    stack: Stack, kinds: tuple[str, ...], level: str, lines: list[str]
) -> None:
    words = ("debug", "marker none", "warning")
    with stack.client() as client:
        for kind in kinds:
            first = run(client, "settings/{kind}", kind, env={"PREFECT_LOGGING_LEVEL": level})
            assert [each for each in first.logs if each in words] == lines
            after = run(client, "settings/{kind}", kind)
            assert [each for each in after.logs if each in words] == ["marker none", "warning"]


def test_results_are_kept_by_a_run_whose_settings_say_so(stack: Stack, kind: str) -> None:
    def results() -> set[Path]:
        return {each for each in (stack.root / "results").rglob("*") if each.is_file()}

    with stack.client() as client:
        before = results()
        run(client, "settings/{kind}", kind)
        assert results() == before
        run(client, "settings/{kind}", kind, env={"PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true"})
        [result] = results() - before
        run(client, "settings/{kind}", kind)
        assert results() == before | {result}


def test_results_are_kept_where_the_server_says(stack: Stack, kind: str) -> None:
    folder = stack.root / f"kept-for-{kind}"
    with stack.client() as client:
        block_type = get(client, "/block_types/slug/local-file-system")["id"]
        body = {"block_schemas": {"block_type_id": {"any_": [block_type]}}}
        schema = post(client, "/block_schemas/filter", body)[0]["id"]
        block = {
            "name": folder.name,
            "data": {"basepath": str(folder)},
            "block_type_id": block_type,
            "block_schema_id": schema,
        }
        block_id = post(client, "/block_documents/", block)["id"]
        run(client, "settings/{kind}", kind)
        assert not folder.exists()
        setting = {"default_result_storage_block_id": block_id}
        client.put("/admin/storage", json=setting).raise_for_status()
        try:
            # The worker may reuse what it read for an earlier run, for a second at most.
            wait_for("result", lambda: run(client, "settings/{kind}", kind) and folder.exists())
        finally:
            client.delete("/admin/storage").raise_for_status()


def test_output_that_is_not_streamed_is_in_the_log_of_the_run_only(stack: Stack, kind: str) -> None:
    with stack.client() as client:
        for streamed in (True, False):
            marker = f"streamed-{streamed}"
            name = f"settings/{kind}"
            run_id = start(client, name, {"marker": marker}, stream_output=streamed)
            assert finished(client, run_id)["state_type"] == "COMPLETED"
            gone(client, run_id)
            said(client, run_id, f"marker {marker}")
            assert (f"marker {marker}" in log_of_worker(stack, kind)) is streamed


def test_a_paused_run_goes_on_in_the_same_process(stack: Stack, kind: str) -> None:
    with stack.client() as client:
        run_id = start(client, f"pauses/{kind}")
        pid = said(client, run_id, "before").split()[1]
        wait_for("pause", lambda: get(client, f"/flow_runs/{run_id}")["state_name"] == "Paused")
        assert process(client, run_id).is_running()
        post(client, f"/flow_runs/{run_id}/resume", {})
        assert finished(client, run_id)["state_type"] == "COMPLETED"
        assert said(client, run_id, "after").split()[1] == pid
        assert [each["message"] for each in log(client, run_id)].count(f"before {pid}") == 1


@pytest.mark.parametrize("how", ["exit", "SIGSEGV"])
def test_the_slot_of_a_run_that_crashed_is_free_again(stack: Stack, kind: str, how: str) -> None:
    name, go, waiting = f"holds/limited-{kind}", f"go-{kind}-{how}", "AwaitingConcurrencySlot"
    with stack.client() as client:
        holder = start(client, name, {"go": go, "then": how})
        said(client, holder, "holding")
        other = start(client, name)
        wait_for("wait", lambda: get(client, f"/flow_runs/{other}")["state_name"] == waiting)
        set_state(client, other, "CANCELLED")
        (stack.root / go).touch()
        assert finished(client, holder)["state_type"] == "CRASHED"
        after = start(client, name)
        assert finished(client, after)["state_type"] == "COMPLETED"
        states = get(client, f"/flow_run_states/?flow_run_id={after}")
        assert waiting not in [each["name"] for each in states]
