"""What only a container shows of the worker: runs out of memory, and how the container stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import stack as stacks
from tests.alerts import reaches
from tests.docker.conftest import make
from tests.docker.test_stack import compose, execute, inspect
from tests.stack import Stack, complete, finished, get, start_run, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOWS = '''
import time

from prefect import flow


@flow
def eats() -> None:
    """Take memory until there is none."""
    eaten = []
    while True:
        eaten.append(b"x" * 2**26)


@flow
def sleeps(seconds: float) -> None:
    """Take so long."""
    time.sleep(seconds)
'''
DEPLOYMENT = """
  - name: {name}
    entrypoint: flows/behave.py:{name}
    work_pool: {{name: default}}
"""


@pytest.fixture(scope="module")
def stack(base_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack, plus a flow that takes all memory and one that sleeps."""
    stack = make(tmp_path_factory, "worker")
    (stack.root / "flows/behave.py").write_text(FLOWS)
    added = "".join(DEPLOYMENT.format(name=flow) for flow in ("eats", "sleeps"))
    stack.edit("prefect.yaml", lambda text: text.rstrip() + "\n" + added)
    with stacks.stack(stack):
        stack.up()
        yield stack


def test_runs_are_forked_from_the_template(stack: Stack) -> None:
    with stack.client() as client:
        assert get(client, "/work_pools/default")["type"] == "prefork"
        run = start_run(client, "sleeps/sleeps", {"seconds": 10})
        pid = wait_for("pid", lambda: get(client, f"/flow_runs/{run}")["infrastructure_pid"])
        command = execute(stack, "worker", "cat", f"/proc/{pid}/cmdline")
        assert "prefect_prefork.forked.template" in command
        assert finished(client, run)["state_type"] == "COMPLETED"


def test_the_kernel_ends_the_run_that_takes_all_memory_and_no_other(stack: Stack) -> None:
    before = inspect(stack, "worker")
    with stack.client() as client:
        other = start_run(client, "sleeps/sleeps", {"seconds": 20})
        reaches(client, other, "Running")
        greedy = finished(client, start_run(client, "eats/eats"))
        assert greedy["state_type"] == "CRASHED", greedy["state"]
        assert "status code: -9" in greedy["state"]["message"]
        assert finished(client, other)["state_type"] == "COMPLETED"
        complete(client, "hello/hello")
    after = inspect(stack, "worker")
    assert after["State"]["Pid"] == before["State"]["Pid"]


@pytest.mark.slow
def test_a_worker_that_is_stopped_lets_its_run_finish(stack: Stack) -> None:
    with stack.client() as client:
        run = start_run(client, "sleeps/sleeps", {"seconds": 10})
        reaches(client, run, "Running")
        assert compose(stack, "stop", "worker").returncode == 0
        assert inspect(stack, "worker")["State"]["ExitCode"] == 0
        assert get(client, f"/flow_runs/{run}")["state_type"] == "COMPLETED"
        assert compose(stack, "start", "worker").returncode == 0
        complete(client, "hello/hello")


def test_what_a_killed_container_ran_is_crashed_by_the_next(stack: Stack) -> None:
    with stack.client() as client:
        run = start_run(client, "sleeps/sleeps", {"seconds": 3600})
        reaches(client, run, "Running")
        assert compose(stack, "kill", "worker").returncode == 0
        assert get(client, f"/flow_runs/{run}")["state_type"] == "RUNNING"
        assert compose(stack, "start", "worker").returncode == 0
        crashed = finished(client, run)
        assert crashed["state_type"] == "CRASHED", crashed["state"]
        assert "The worker was killed" in crashed["state"]["message"]
