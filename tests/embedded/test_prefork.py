"""The worker type `prefork`: what its runs see, how they end, and what they leave behind."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests import stack as stacks
from tests.embedded.processes import service
from tests.embedded.runs import gone, process, said, set_state
from tests.stack import Stack, complete, deployment, finished, get, make, post, start_run, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

FLOW = '''\
import os, random, signal, subprocess, sys, time

from prefect import flow

from flows.value import VALUE


def is_cancelled(flow, flow_run, state):
    print("hook of", flow_run.name)


@flow(log_prints=True, on_cancellation=[is_cancelled], on_crashed=[is_cancelled])
def behave(how: str = "value", seconds: float = 0) -> None:
    """Do one thing that a run can do.

    Args:
        how: Which.
        seconds: How long to wait first.
    """
    if how == "parent":
        print("child", subprocess.Popen(["sleep", "600"]).pid)
    print("started")
    time.sleep(seconds)
    match how:
        case "value":
            print("value", VALUE)
        case "environment":
            print("environment", os.environ.get("OF_THE_RUN"), random.random(), os.getpid())
        case "fail":
            raise RuntimeError("on purpose")
        case "exit":
            sys.exit(3)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
'''
DEPLOYMENT = """
  - name: behave
    entrypoint: flows/behave.py:behave
    work_pool: {name: default}
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack as shipped, plus a flow that behaves in many ways."""
    stack = make(tmp_path_factory, "prefork")
    stack.edit("prefect.yaml", lambda text: text.rstrip() + "\n" + DEPLOYMENT)
    (stack.root / "flows/behave.py").write_text(FLOW)
    (stack.root / "flows/value.py").write_text("VALUE = 1\n")
    with stacks.stack(stack):
        stack.up()
        yield stack


def run(client: httpx.Client, **parameters: Any) -> dict[str, Any]:
    return finished(client, start_run(client, "behave/behave", parameters))


def running(client: httpx.Client, **parameters: Any) -> str:
    """Start a run and wait until its flow has begun; return its id."""
    run_id = start_run(client, "behave/behave", parameters)
    said(client, run_id, "started")
    return run_id


def test_the_shipped_flows_complete(stack: Stack) -> None:
    with stack.client() as client:
        assert get(client, "/work_pools/default")["type"] == "prefork"
        complete(client, "hello/hello")
        complete(client, "export/export")


def test_a_run_is_forked_and_has_a_process_of_its_own(stack: Stack) -> None:
    with stack.client() as client:
        run_id = running(client, seconds=5)
        fork = process(client, run_id)
        assert fork.parent() == service(stack, "worker")
        assert "prefect.engine" not in " ".join(fork.cmdline())
        assert finished(client, run_id)["state_type"] == "COMPLETED"
        gone(client, run_id)


def test_what_runs_is_what_is_on_disk(stack: Stack) -> None:
    with stack.client() as client:
        first = run(client)
        assert said(client, first["id"], "value") == "value 1"
        stack.edit("flows/value.py", lambda _: "VALUE = 2\n")
        assert said(client, run(client)["id"], "value") == "value 2"
        stack.edit(
            "flows/behave.py", lambda text: text.replace('"value", VALUE', '"value", -VALUE')
        )
        assert said(client, run(client)["id"], "value") == "value -2"


def test_an_environment_holds_in_its_run_and_in_no_other(stack: Stack) -> None:
    with stack.client() as client:
        deployment_id = deployment(client, "behave/behave")["id"]
        body = {
            "parameters": {"how": "environment"},
            "job_variables": {"env": {"OF_THE_RUN": "yes"}},
            "state": {"type": "SCHEDULED"},
        }
        run_id = post(client, f"/deployments/{deployment_id}/create_flow_run", body)["id"]
        finished(client, run_id)
        _, value, random, pid = said(client, run_id, "environment").split()
        assert value == "yes"
        lines = [said(client, run(client, how="environment")["id"], "environment") for _ in "ab"]
        assert {line.split()[1] for line in lines} == {"None"}
        assert len({random, *(line.split()[2] for line in lines)}) == 3
        assert len({pid, *(line.split()[3] for line in lines)}) == 3


@pytest.mark.parametrize(
    ("how", "state", "message"),
    [
        ("value", "COMPLETED", None),
        ("fail", "FAILED", "on purpose"),
        ("exit", "CRASHED", "system exit call"),
        ("segfault", "CRASHED", "status code: -11"),
        ("kill", "CRASHED", "status code: -9"),
    ],
)
def test_a_run_ends_in_the_state_that_tells_what_became_of_it(
    stack: Stack, how: str, state: str, message: str | None
) -> None:
    with stack.client() as client:
        flow_run = run(client, how=how)
        assert flow_run["state_type"] == state, flow_run["state"]
        assert message is None or message in flow_run["state"]["message"]


def test_a_cancelled_run_runs_its_hook_and_is_cancelled(stack: Stack) -> None:
    with stack.client() as client:
        run_id = running(client, seconds=60)
        set_state(client, run_id, "CANCELLING")
        assert finished(client, run_id)["state_type"] == "CANCELLED"
        said(client, run_id, "Running hook 'is_cancelled'")


def test_what_a_cancelled_run_has_started_ends_with_it(stack: Stack) -> None:
    with stack.client() as client:
        run_id = running(client, how="parent", seconds=60)
        child = int(said(client, run_id, "child").split()[1])
        assert psutil.pid_exists(child)
        set_state(client, run_id, "CANCELLING")
        assert finished(client, run_id)["state_type"] == "CANCELLED"
        wait_for("end of the child", lambda: not psutil.pid_exists(child))


def test_a_run_that_is_deleted_while_it_is_cancelled_takes_no_other_with_it(stack: Stack) -> None:
    with stack.client() as client:
        other = running(client, seconds=8)
        run_id = running(client, seconds=60)
        run_process = process(client, run_id)
        set_state(client, run_id, "CANCELLING")
        client.delete(f"/flow_runs/{run_id}").raise_for_status()
        wait_for("end of the process", lambda: not run_process.is_running())
        assert finished(client, other)["state_type"] == "COMPLETED"
        third = running(client, seconds=60)
        set_state(client, third, "CANCELLING")
        assert finished(client, third)["state_type"] == "CANCELLED"


def test_a_template_that_dies_is_replaced_and_its_runs_go_on(stack: Stack) -> None:
    with stack.client() as client:
        run_id = running(client, seconds=4)
        for child in service(stack, "worker").children():
            if "prefect_prefork.forked.template" in " ".join(child.cmdline()) and child.ppid():
                is_run = str(child.pid) == get(client, f"/flow_runs/{run_id}")["infrastructure_pid"]
                if not is_run:
                    child.kill()
        assert run(client)["state_type"] == "COMPLETED"
        assert finished(client, run_id)["state_type"] == "COMPLETED"


def test_a_worker_that_is_killed_leaves_no_run_behind(stack: Stack) -> None:
    with stack.client() as client:
        run_id = running(client, seconds=120)
        pid = process(client, run_id).pid
        service(stack, "worker").kill()
        flow_run = finished(client, run_id)
        assert flow_run["state_type"] == "CRASHED", flow_run["state"]
        wait_for("end of the process", lambda: not psutil.pid_exists(pid))
        wait_for("worker", lambda: stack.status()["running"])
        complete(client, "hello/hello")


def test_a_worker_that_is_stopped_lets_its_runs_finish(stack: Stack) -> None:
    with stack.client() as client:
        run_id = running(client, seconds=5)
        service(stack, "worker").send_signal(signal.SIGTERM)
        assert finished(client, run_id)["state_type"] == "COMPLETED"
        wait_for("worker", lambda: stack.status()["running"])


def stops(stack: Stack) -> int:
    """Count how often the stack's worker has logged that it is stopping."""
    return stack.command("logs", "worker").count("no more runs are taken")


def test_a_worker_that_is_hurried_cancels_its_runs(stack: Stack) -> None:
    with stack.client() as client:
        run_id = running(client, seconds=120)
        worker = service(stack, "worker")
        before = stops(stack)
        worker.send_signal(signal.SIGTERM)
        wait_for("stop", lambda: stops(stack) > before)
        worker.send_signal(signal.SIGTERM)
        flow_run = finished(client, run_id)
        assert flow_run["state_type"] == "CANCELLED", flow_run["state"]
        assert "The worker was stopped" in flow_run["state"]["message"]
