"""One table of behaviours, each run by both types of worker: what one sees is the same."""

from __future__ import annotations

import re
import signal
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests import stack as stacks
from tests.embedded.conftest import make
from tests.stack import TERMINAL, Stack, finished, get, post, start_run, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

FLOWS = Path(__file__).parent / "behaviours/flows.py"
STOCK, PREFORK = "of-stock", "of-prefork"  # the pools, their workers, the deployments
TYPES = {STOCK: "process", PREFORK: "prefork"}
POOLS = """
  - name: {name}
    type: {type}
    base_job_template:
      variables:
        properties:
          working_dir: {{default: "{{{{ $STACK_ROOT }}}}"}}
"""
LIMIT = "\nconcurrency_limits:\n  - {name: of-behaviours, limit: 1}\n"
# What ends with which type of state.
TABLE = {
    "success": "COMPLETED",
    "failure": "FAILED",
    "failure_of_a_task": "FAILED",
    "crash": "CRASHED",
    "system_exit": "CRASHED",
    "segmentation_fault": "CRASHED",
    "memory_kill": "CRASHED",
    "terminated": "CRASHED",
    "too_long": "FAILED",
    "retried": "COMPLETED",
    "asynchronous": "COMPLETED",
    "generator": "COMPLETED",
    "asynchronous_generator": "COMPLETED",
    "subflows": "COMPLETED",
    "threads": "COMPLETED",
    "processes": "COMPLETED",
    "another_deployment": "COMPLETED",
    "persisted": "COMPLETED",
    "order": "COMPLETED",
    "limited": "COMPLETED",
    "environment": "COMPLETED",
}
# A process that SIGTERM ends loses its log with the process type, and delivers it with ours.
LESS_LOG = ("terminated",)
AT_ONCE = ("threads", "processes")  # the lines come in any order
OTHERS = ("sleeps", "steps", "busy_in_c", "suspends")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with a pool and a worker of each type."""
    made = make(tmp_path_factory, "types")
    pools = "".join(POOLS.format(name=name, type=kind) for name, kind in TYPES.items())
    made.edit("stack.yaml", lambda text: _with_pools(text, pools) + LIMIT)
    lines = "".join(
        f"\n  - name: {kind}\n    entrypoint: flows/behaviours.py:{flow}\n"
        f"    work_pool: {{name: {kind}}}\n"
        for kind in (STOCK, PREFORK)
        for flow in (*TABLE, *OTHERS)
    )
    made.edit("prefect.yaml", lambda text: text.rstrip() + "\n" + lines)
    (made.root / "flows/behaviours.py").write_text(FLOWS.read_text())
    with stacks.stack(made):
        made.up()
        workers = [_start_worker(made, each) for each in (STOCK, PREFORK)]
        try:
            yield made
        finally:
            for each in workers:
                each.send_signal(signal.SIGTERM)
            for each in workers:
                each.wait(60)


def _with_pools(text: str, pools: str) -> str:
    before, blocks, after = text.partition("\nblocks:\n")
    return before.rstrip() + "\n" + pools + blocks + after


def _start_worker(stack: Stack, kind: str) -> subprocess.Popen[bytes]:
    script = (
        'eval "$(scripts/stack env)"; export TMPDIR="$PWD/tmp-$0" PREFECT_HOME="$PWD/home-$0"'
        ' PREFECT_LOCAL_STORAGE_PATH="$PWD/results" PREFECT_WORKER_QUERY_SECONDS=1'
        ' PYTHONPATH="$PWD" PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30;'
        ' mkdir -p "$TMPDIR"; exec python -P -m prefect worker start --pool "$0" --name "$0"'
    )
    with (stack.root / f"worker-{kind}.log").open("wb") as log:
        return subprocess.Popen(
            ["sh", "-c", script, kind],
            cwd=stack.root,
            env=stack.environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@dataclass(frozen=True)
class Outcome:
    """What one can see of a run, without what differs between any two."""

    state: str
    message: str
    logs: tuple[str, ...]
    tasks: tuple[str, ...]
    subflows: tuple[str, ...]


def start(client: httpx.Client, kind: str, flow: str, **parameters: Any) -> str:
    return start_run(client, f"{flow.replace('_', '-')}/{kind}", parameters)


def said(client: httpx.Client, run_id: str, line: str) -> None:
    """Wait until the run's log has the line."""
    wait_for(f"line {line!r}", lambda: line in logs(client, run_id))


def begun(client: httpx.Client, kind: str, flow: str, line: str, **parameters: Any) -> str:
    """Start a run; its id when its flow has said `line`."""
    run_id = start(client, kind, flow, **parameters)
    said(client, run_id, line)
    return run_id


def set_state(client: httpx.Client, run_id: str, kind: str, name: str | None = None) -> None:
    body = {"state": {"type": kind, **({"name": name} if name else {})}, "force": True}
    client.post(f"/flow_runs/{run_id}/set_state", json=body).raise_for_status()


def logs(client: httpx.Client, run_id: str) -> list[str]:
    body = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
    found = post(client, "/logs/filter", body)
    return [each["message"] for each in found if not each["name"].startswith(WORKERS)]


# Who of the machinery writes to the log of a run, each type in its own words.
WORKERS = (
    "prefect.flow_runs.worker",
    "prefect.runner",
    "prefect.engine",
    "prefect.flow_runs.runner",
)


def outcome(client: httpx.Client, run: dict[str, Any], kind: str) -> Outcome:
    """What became of a run that has ended, when its last line of log has come."""
    state = run["state"]
    # The process delivers its log before it ends; the states of tasks come as events, and late.
    wait_for("end of the process", lambda: not psutil.pid_exists(int(run["infrastructure_pid"])))
    body: dict[str, Any] = {"flow_runs": {"id": {"any_": [run["id"]]}}}

    def tasks_at_their_end() -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = post(client, "/task_runs/filter", body)
        return [{}, *found] if all(each["state_type"] in TERMINAL for each in found) else None

    tasks = wait_for("end of the tasks", tasks_at_their_end)[1:]
    body = {"flow_runs": {"parent_flow_run_id": {"any_": [run["id"]]}}}
    subflows = post(client, "/flow_runs/filter", body)

    def plain(text: str) -> str:
        text = text.replace(run["name"], "RUN").replace(kind, "POOL")
        for each in subflows:
            text = text.replace(each["name"], "SUBFLOW")
        text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
        text = re.sub(r"-[0-9a-f]{3}\b", "-NNN", text)
        return re.sub(r'File "[^"]*", line \d+', "File", re.sub(r"0x[0-9a-f]+", "0xN", text))

    return Outcome(
        state=f"{state['type']} {state['name']}",
        message=plain(state["message"] or ""),
        logs=tuple(plain(each) for each in logs(client, run["id"]) if not _of_worker(each, run)),
        tasks=tuple(sorted(f"{_task(plain(each['name']))} {each['state_name']}" for each in tasks)),
        subflows=tuple(sorted(each["state_name"] for each in subflows)),
    )


def _of_worker(line: str, run: dict[str, Any]) -> bool:
    """Whether it is of a hook that the worker runs, which the process type does not log; or of the
    code's place, which that type logs from another process, so that no death of the run loses it.
    """
    return run["state_type"] == "CRASHED" and ("ook 'tell'" in line or "Downloading" in line)


def _task(name: str) -> str:
    """The name of a task run; a run of another deployment is one with a name of its own."""
    return name if name.endswith("-NNN") else "RUN OF ANOTHER DEPLOYMENT"


@pytest.mark.parametrize("flow", TABLE)
def test_both_types_do_the_same(stack: Stack, flow: str) -> None:
    with stack.client() as client:
        found = {}
        for kind in (STOCK, PREFORK):
            more = {"name": f"success/{kind}"} if flow == "another_deployment" else {}
            run = finished(client, start(client, kind, flow, **more))
            assert run["state_type"] == TABLE[flow], run["state"]
            found[kind] = outcome(client, get(client, f"/flow_runs/{run['id']}"), kind)
        if flow in LESS_LOG:
            assert set(found[STOCK].logs) < set(found[PREFORK].logs)
            found = {each: replace(found[each], logs=()) for each in found}
        if flow in AT_ONCE:
            found = {k: replace(each, logs=tuple(sorted(each.logs))) for k, each in found.items()}
        assert found[PREFORK] == found[STOCK]


both = pytest.mark.parametrize("kind", [STOCK, PREFORK])


@both
@pytest.mark.parametrize(("flow", "line"), [("sleeps", "sleeping"), ("busy_in_c", "computing")])
def test_a_run_is_cancelled_also_while_it_is_in_c_code(
    stack: Stack, kind: str, flow: str, line: str
) -> None:
    with stack.client() as client:
        before = (stack.root / f"worker-{kind}.log").read_text().count("hook for CANCELLING")
        run_id = begun(client, kind, flow, line)
        set_state(client, run_id, "CANCELLING")
        found = finished(client, run_id)
        assert (found["state_type"], found["state_name"]) == ("CANCELLED", "Cancelled")
        # What a hook prints after the run's process is gone goes to the worker's own output.
        log = stack.root / f"worker-{kind}.log"
        wait_for("hook", lambda: log.read_text().count("hook for CANCELLING") > before)


@both
def test_a_run_that_suspends_itself_goes_on_when_it_is_resumed(stack: Stack, kind: str) -> None:
    with stack.client() as client:
        run_id = begun(client, kind, "suspends", "before")
        wait_for("pause", lambda: get(client, f"/flow_runs/{run_id}")["state_name"] == "Suspended")
        post(client, f"/flow_runs/{run_id}/resume", {})
        assert finished(client, run_id)["state_type"] == "COMPLETED"
        said(client, run_id, "after")


@both
def test_a_run_that_is_suspended_from_outside_stops_between_two_tasks(
    stack: Stack, kind: str
) -> None:
    with stack.client() as client:
        run_id = begun(client, kind, "steps", "stepping")
        pid = int(
            wait_for("pid", lambda: get(client, f"/flow_runs/{run_id}")["infrastructure_pid"])
        )
        set_state(client, run_id, "PAUSED", "Suspended")
        wait_for("end of the process", lambda: not psutil.pid_exists(pid))
        assert get(client, f"/flow_runs/{run_id}")["state_name"] == "Suspended"


@both
def test_heartbeats_are_sent_while_a_run_goes_on(stack: Stack, kind: str) -> None:
    with stack.client() as client:
        run_id = begun(client, kind, "sleeps", "sleeping", seconds=4)
        body = {
            "filter": {
                "event": {"name": ["prefect.flow-run.heartbeat"]},
                "resource": {"id": [f"prefect.flow-run.{run_id}"]},
                "occurred": {"since": "2026-01-01T00:00:00Z"},
            }
        }
        wait_for("heartbeat", lambda: post(client, "/events/filter", body)["total"])
        assert finished(client, run_id)["state_type"] == "COMPLETED"


@both
def test_a_result_is_where_the_next_reader_finds_it(stack: Stack, kind: str) -> None:
    with stack.client() as client:
        before = _files(stack.root / "results")
        assert finished(client, start(client, kind, "persisted"))["state_type"] == "COMPLETED"
        [made] = _files(stack.root / "results") - before
        assert "42" in made.read_text()


@both
def test_a_slot_is_free_again_after_the_run_that_held_it(stack: Stack, kind: str) -> None:
    with stack.client() as client:
        for _ in range(2):
            assert finished(client, start(client, kind, "limited"))["state_type"] == "COMPLETED"


@both
def test_nothing_is_left_in_the_temporary_folder(stack: Stack, kind: str) -> None:
    with stack.client() as client:
        folder = stack.root / f"tmp-{kind}"
        finished(client, start(client, kind, "success"))
        before = _files(folder)
        for flow in ("success", "failure", "crash", "processes"):
            finished(client, start(client, kind, flow))
        wait_for("an empty folder", lambda: _files(folder) <= before)


def _files(folder: Path) -> set[Path]:
    return {each for each in folder.rglob("*") if each.is_file()}
