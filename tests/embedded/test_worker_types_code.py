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
# Deployments whose code is elsewhere. A temporary folder is what they start in.
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
    """The flows in `folder`, which say that they are `where`.

    Without an `__init__.py`: the stack has a package of that name with one, which Python prefers.
    """
    (folder / "flows").mkdir(parents=True, exist_ok=True)
    source = FLOWS.read_text()
    assert "of the stack" in source
    (folder / FLOW_FILE).write_text(source.replace("of the stack", where))
    (folder / BESIDE).write_text(f"WHERE = {where!r}\n")


def commit(repository: Path) -> None:
    """Commit all that is in `repository`, which is made if need be."""
    author = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    for arguments in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "change"]):
        subprocess.run(["git", *arguments], cwd=repository, check=True)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with a worker of each type, and code in three places."""
    flows = ("where", "settings", "pauses")
    made = declared(tmp_path_factory, "code", FLOWS.read_text(), flows)
    lines = "".join(PULLED.format(pool=pool, root=made.root) for pool in TYPES)
    made.edit("prefect.yaml", lambda text: text + lines)
    write_code(made.root, "of the stack")
    write_code(made.root / "elsewhere", "elsewhere")
    write_code(made.root / "repository", "of the clone")
    commit(made.root / "repository")
    with running(made, PREFORK):
        yield made


def run(client: httpx.Client, name: str, kind: str, **job_variables: Any) -> Outcome:
    """A run of `name`, to its end; what became of it, without the names of temporary folders."""
    run_id = start(client, name.format(kind=kind), **job_variables)
    finished(client, run_id)
    found = outcome(client, run_id, kind)
    return replace(found, logs=tuple(TEMPORARY.sub("TEMPORARY/", each) for each in found.logs))


def same(client: httpx.Client, kinds: tuple[str, ...], name: str, **job_variables: Any) -> Outcome:
    """What became of a run, which has to be the same with all types of `kinds`."""
    found = [run(client, name, kind, **job_variables) for kind in kinds]
    assert found == [found[0]] * len(kinds)
    return found[0]


def of(found: Outcome, line: str) -> str:
    """The one line of a run's log that begins so."""
    [one] = [each for each in found.logs if each.startswith(line)]
    return one


def test_code_is_cloned_for_each_run(stack: Stack, kinds: tuple[str, ...]) -> None:
    repository = stack.root / "repository"
    with stack.client() as client:
        said_so = of(same(client, kinds, "where/cloned-{kind}"), "code")
        assert said_so.startswith("code of the clone beside of the clone in ")
        write_code(repository, "of the next commit")
        commit(repository)
        said_so = of(same(client, kinds, "where/cloned-{kind}"), "code")
        assert said_so.startswith("code of the next commit beside of the next commit in ")


def test_code_is_where_a_pull_step_goes(stack: Stack, kinds: tuple[str, ...]) -> None:
    with stack.client() as client:
        said_so = of(same(client, kinds, "where/moved-{kind}"), "code")
    assert said_so.startswith("code elsewhere beside elsewhere in ")
    assert said_so.endswith(f"/{stack.root.name}/elsewhere")


def test_code_is_in_the_working_directory_of_the_run(stack: Stack, kinds: tuple[str, ...]) -> None:
    with stack.client() as client:
        elsewhere = of(
            same(client, kinds, "where/{kind}", working_dir=f"{stack.root}/elsewhere"), "code"
        )
        said_so = of(same(client, kinds, "where/{kind}"), "code")
    assert elsewhere.startswith("code elsewhere beside elsewhere in ")
    assert elsewhere.endswith(f"/{stack.root.name}/elsewhere")
    assert said_so.startswith("code of the stack beside of the stack in ")
    assert said_so.endswith(f"/{stack.root.name}")


def test_a_working_directory_that_is_not_there_crashes_the_run(
    stack: Stack, kinds: tuple[str, ...]
) -> None:
    with stack.client() as client:
        for kind in kinds:
            run_id = start(client, f"where/{kind}", working_dir=f"{stack.root}/nowhere")
            found = finished(client, run_id)
            assert found["state_type"] == "CRASHED", found["state"]
            told = found["state"]["message"] if kind == PREFORK else log_of_worker(stack, kind)
            assert f"{stack.root}/nowhere" in told
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
            found = run(client, "settings/{kind}", kind, env={"PREFECT_LOGGING_LEVEL": level})
            assert [each for each in found.logs if each in words] == lines
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
        [made] = results() - before
        run(client, "settings/{kind}", kind)
        assert results() == before | {made}


def test_results_are_kept_where_the_server_says(stack: Stack, kind: str) -> None:
    folder = stack.root / f"kept-for-{kind}"
    with stack.client() as client:
        kind = get(client, "/block_types/slug/local-file-system")["id"]
        body = {"block_schemas": {"block_type_id": {"any_": [kind]}}}
        schema = post(client, "/block_schemas/filter", body)[0]["id"]
        block = {
            "name": folder.name,
            "data": {"basepath": str(folder)},
            "block_type_id": kind,
            "block_schema_id": schema,
        }
        made = post(client, "/block_documents/", block)["id"]
        run(client, "settings/{kind}", kind)
        assert not folder.exists()
        asked = {"default_result_storage_block_id": made}
        client.put("/admin/storage", json=asked).raise_for_status()
        try:
            # What was asked for an earlier run may be handed to this one, for a second at most.
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
