"""The worker type `prefork` when it is stopped or killed: no run is left without an end."""

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
# From the second signal to the end of the worker: the 60 s that it has, less those of the grace.
HURRY_SECONDS = 20
AS_SUBPROCESS = [{"command": "python -m prefect.engine"}, {"env": {"PYTHONHASHSEED": "7"}}]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with a pool whose workers the tests start."""
    flows = ["short", "sleeps", "deaf"]
    types = {PREFORK: "prefork"}
    made = declared(tmp_path_factory, "stop", FLOWS.read_text(), flows, types)
    with running(made):
        yield made


def stop(stack: Stack, told: subprocess.Popen[bytes], name: str) -> None:
    """Have a worker stop; returns when it does."""
    told.send_signal(signal.SIGTERM)
    wait_for("stop", lambda: STOPPING in log_of_worker(stack, name))


def hurry(stack: Stack, told: subprocess.Popen[bytes], name: str) -> float:
    """Have a worker stop at once; how many seconds it took to end."""
    stop(stack, told, name)
    began = time.monotonic()
    told.send_signal(signal.SIGTERM)
    assert told.wait(HURRY_SECONDS) == 0, log_of_worker(stack, name)
    return time.monotonic() - began


def entries(stack: Stack) -> list[Path]:
    """What the workers of the tests have noted on disk, and what they hold it with."""
    return list(stack.root.glob("home-*/.prefork/*/*/*"))


def begun(client: Any, flow: str, **job_variables: Any) -> str:
    """Start a run; its id when its flow has begun."""
    run_id = start(client, f"{flow}/{PREFORK}", **job_variables)
    said(client, run_id, "started")
    return run_id


def test_a_cancellation_that_is_under_way_is_carried_out_before_the_worker_ends(
    stack: Stack,
) -> None:
    began = stack.root / "hook-began"
    with stack.client() as client, worker(stack, PREFORK, "cancels") as told:
        run_id = begun(client, "sleeps")
        assert run_id in {path.name for path in entries(stack)}
        set_state(client, run_id, "CANCELLING")
        wait_for("hook", began.exists)
        gone(client, run_id)
        stop(stack, told, "cancels")
        (stack.root / "go").touch()
        assert told.wait(HURRY_SECONDS) == 0
        assert get(client, f"/flow_runs/{run_id}")["state_type"] == "CANCELLED"
        assert "finished running successfully" in said(client, run_id, "Hook 'waits_for_go'")
    assert entries(stack) == []  # the end of the worker was whole


def test_a_run_that_hears_no_signal_and_whose_hook_hangs_is_cancelled_in_time(
    stack: Stack,
) -> None:
    with stack.client() as client, worker(stack, PREFORK, "hurries") as told:
        run_id = begun(client, "deaf")
        took = hurry(stack, told, "hurries")
        found = get(client, f"/flow_runs/{run_id}")
        assert found["state_type"] == "CANCELLED", found["state"]
        assert STOPPED in found["state"]["message"], took


@pytest.mark.parametrize("job_variables", AS_SUBPROCESS, ids=["command", "environment"])
def test_a_run_in_a_subprocess_is_cancelled_when_the_worker_is_stopped(
    stack: Stack, job_variables: dict[str, Any]
) -> None:
    (stack.root / "go").touch()
    with stack.client() as client, worker(stack, PREFORK, "ends") as told:
        run_id = begun(client, "sleeps", **job_variables)
        found = process(client, run_id)
        hurry(stack, told, "ends")
        state = get(client, f"/flow_runs/{run_id}")["state"]
        assert state["type"] == "CANCELLED", state
        assert STOPPED in state["message"]
        assert not found.is_running()
    assert entries(stack) == []


@pytest.mark.parametrize("job_variables", AS_SUBPROCESS, ids=["command", "environment"])
def test_a_run_in_a_subprocess_is_ended_and_reported_by_the_next_start(
    stack: Stack, job_variables: dict[str, Any]
) -> None:
    with stack.client() as client:
        with worker(stack, PREFORK, "killed") as told:
            run_id = begun(client, "sleeps", **job_variables)
            assert run_id in {path.name for path in entries(stack)}
            family = [process(client, run_id), *process(client, run_id).children(recursive=True)]
            told.kill()
            told.wait()
        with worker(stack, PREFORK, "killed") as told:
            found = finished(client, run_id)
            assert found["state_type"] == "CRASHED", found["state"]
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
        with worker(stack, PREFORK, "waited") as told:
            said(client, run_id, "started")
            assert run_id in {path.name for path in entries(stack)}
            hurry(stack, told, "waited")
            assert get(client, f"/flow_runs/{run_id}")["state_type"] == "CANCELLED"
    assert entries(stack) == []


def test_a_run_that_is_being_started_when_the_worker_is_stopped_is_not_lost(stack: Stack) -> None:
    with stack.client() as client:
        with worker(stack, PREFORK, "starts") as told:
            finished(client, start(client, f"short/{PREFORK}"))
            ids = [start(client, f"short/{PREFORK}") for _ in range(8)]
            paths = [f"/flow_runs/{each}" for each in ids]
            wait_for("first", lambda: get(client, paths[0])["state_type"] != "SCHEDULED")
            told.send_signal(signal.SIGTERM)
            assert told.wait(HURRY_SECONDS) == 0
            states = {get(client, path)["state_type"] for path in paths}
            assert states <= {"COMPLETED", "SCHEDULED"}
        with worker(stack, PREFORK, "starts"):
            assert {finished(client, each)["state_type"] for each in ids} == {"COMPLETED"}
