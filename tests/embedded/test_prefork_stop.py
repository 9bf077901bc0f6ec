"""The worker type `prefork` when it is stopped or killed: every run reaches a terminal state."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.embedded.runs import gone, process, said, set_state, start
from tests.embedded.two_workers import PREFORK, declared, log_of_worker, running, worker
from tests.stack import finished, get, wait_for

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.stack import Stack

FLOWS = Path(__file__).parent / "behaviours/stops.py"
STOPPING = "no more runs are taken"
STOPPED = "The worker was stopped"
# From the second signal to the end of the worker: its 60 s, less the grace period.
HURRY_SECONDS = 20
# Either of them makes a run a subprocess, which is then treated alike.
AS_SUBPROCESS = [
    pytest.param({"command": "python -m prefect.engine"}, id="command"),
    pytest.param({"env": {"PYTHONHASHSEED": "7"}}, id="environment", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with a pool of type `prefork`, whose workers the tests start."""
    flows = ["short", "sleeps", "deaf"]
    types = {PREFORK: "prefork"}
    stack = declared(tmp_path_factory, "stop", FLOWS.read_text(), flows, types)
    with running(stack):
        yield stack


def stop(stack: Stack, process: subprocess.Popen[bytes], name: str) -> None:
    """Ask a worker to stop, and wait until it has begun to."""
    process.send_signal(signal.SIGTERM)
    wait_for("stop", lambda: STOPPING in log_of_worker(stack, name))


def hurry(stack: Stack, process: subprocess.Popen[bytes], name: str) -> float:
    """Ask a worker twice, so that it stops at once; return the seconds from then to its end."""
    stop(stack, process, name)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(HURRY_SECONDS) == 0, log_of_worker(stack, name)
    return time.monotonic() - began


def entries(stack: Stack) -> list[Path]:
    """Return the files of the workers' journals: entries of runs, and lock files."""
    return list(stack.root.glob("home-*/.prefork/*/*/*"))


def begun(client: Any, flow: str, **job_variables: Any) -> str:
    """Start a run and wait until its flow has begun; return its id."""
    run_id = start(client, f"{flow}/{PREFORK}", **job_variables)
    said(client, run_id, "started")
    return run_id


def test_a_cancellation_that_is_under_way_is_carried_out_before_the_worker_ends(
    stack: Stack,
) -> None:
    began = stack.root / "hook-began"
    with stack.client() as client, worker(stack, PREFORK, "cancels") as worker_process:
        run_id = begun(client, "sleeps")
        assert run_id in {path.name for path in entries(stack)}
        set_state(client, run_id, "CANCELLING")
        wait_for("hook", began.exists)
        gone(client, run_id)
        stop(stack, worker_process, "cancels")
        (stack.root / "go").touch()
        assert worker_process.wait(HURRY_SECONDS) == 0
        assert get(client, f"/flow_runs/{run_id}")["state_type"] == "CANCELLED"
        assert "finished running successfully" in said(client, run_id, "Hook 'waits_for_go'")
    assert entries(stack) == []  # the worker had time to clean up


def test_a_run_that_hears_no_signal_and_whose_hook_hangs_is_cancelled_in_time(
    stack: Stack,
) -> None:
    with stack.client() as client, worker(stack, PREFORK, "hurries") as worker_process:
        run_id = begun(client, "deaf")
        took = hurry(stack, worker_process, "hurries")
        run = get(client, f"/flow_runs/{run_id}")
        assert run["state_type"] == "CANCELLED", run["state"]
        assert STOPPED in run["state"]["message"], took


@pytest.mark.parametrize("job_variables", AS_SUBPROCESS)
def test_a_run_in_a_subprocess_is_cancelled_when_the_worker_is_stopped(
    stack: Stack, job_variables: dict[str, Any]
) -> None:
    (stack.root / "go").touch()
    with stack.client() as client, worker(stack, PREFORK, "ends") as worker_process:
        run_id = begun(client, "sleeps", **job_variables)
        subprocess_of_run = process(client, run_id)
        hurry(stack, worker_process, "ends")
        state = get(client, f"/flow_runs/{run_id}")["state"]
        assert state["type"] == "CANCELLED", state
        assert STOPPED in state["message"]
        assert not subprocess_of_run.is_running()
    assert entries(stack) == []


@pytest.mark.parametrize("job_variables", AS_SUBPROCESS)
def test_a_run_in_a_subprocess_is_ended_and_reported_by_the_next_start(
    stack: Stack, job_variables: dict[str, Any]
) -> None:
    with stack.client() as client:
        with worker(stack, PREFORK, "killed") as worker_process:
            run_id = begun(client, "sleeps", **job_variables)
            assert run_id in {path.name for path in entries(stack)}
            family = [process(client, run_id), *process(client, run_id).children(recursive=True)]
            worker_process.kill()
            worker_process.wait()
        with worker(stack, PREFORK, "killed") as worker_process:
            run = finished(client, run_id)
            assert run["state_type"] == "CRASHED", run["state"]
            wait_for("end of it", lambda: not any(_lives(each) for each in family))
    assert entries(stack) == []


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_run_that_waits_for_the_worker_to_start_is_its_own_from_the_first(stack: Stack) -> None:
    (stack.root / "go").touch()
    with stack.client() as client:
        run_id = start(client, f"sleeps/{PREFORK}")
        with worker(stack, PREFORK, "waited") as worker_process:
            said(client, run_id, "started")
            assert run_id in {path.name for path in entries(stack)}
            hurry(stack, worker_process, "waited")
            assert get(client, f"/flow_runs/{run_id}")["state_type"] == "CANCELLED"
    assert entries(stack) == []


def test_a_run_that_is_being_started_when_the_worker_is_stopped_is_not_lost(stack: Stack) -> None:
    with stack.client() as client:
        with worker(stack, PREFORK, "starts") as worker_process:
            finished(client, start(client, f"short/{PREFORK}"))
            ids = [start(client, f"short/{PREFORK}") for _ in range(8)]
            paths = [f"/flow_runs/{each}" for each in ids]
            wait_for("first", lambda: get(client, paths[0])["state_type"] != "SCHEDULED")
            worker_process.send_signal(signal.SIGTERM)
            assert worker_process.wait(HURRY_SECONDS) == 0
            states = {get(client, path)["state_type"] for path in paths}
            assert states <= {"COMPLETED", "SCHEDULED"}
        with worker(stack, PREFORK, "starts"):
            assert {finished(client, each)["state_type"] for each in ids} == {"COMPLETED"}
