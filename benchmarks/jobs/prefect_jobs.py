"""The jobs as Prefect flows, and as tasks for `task.serve`; copied, so it imports no other job."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

FIRST_LINE = "first line"
LIGHT = (40, 10)  # number of steps, and the Fibonacci number that each computes
HEAVY = (10, 33)
NOISE_LINES = 20
NOISE_EVENTS = 10


def fib(n: int) -> int:
    """Compute the Fibonacci number `n` slowly."""
    return n if n <= 1 else fib(n - 1) + fib(n - 2)


def wait_for_release() -> None:
    """Report that this job is running, by a file, then hold until the folder is removed."""
    folder = Path(os.environ["BENCH_HOLD"])
    (folder / uuid.uuid4().hex).touch()
    while folder.exists():
        time.sleep(0.1)


@task(cache_policy=NO_CACHE)
def step(n: int) -> int:
    """Run one step, without the cache."""
    return fib(n)


def _steps(count: int, n: int) -> None:
    for _ in range(count):
        step(n)


def _noise() -> None:
    logger = get_run_logger()
    for number in range(max(NOISE_LINES, NOISE_EVENTS)):
        if number < NOISE_LINES:
            logger.info("line %d", number)
        if number < NOISE_EVENTS:
            emit_event("benchmark.noise", resource={"prefect.resource.id": f"benchmark.{number}"})


@flow
def noop() -> None:
    """Write only the first line."""
    get_run_logger().info(FIRST_LINE)


@flow
def light() -> None:
    """Run many small steps."""
    get_run_logger().info(FIRST_LINE)
    _steps(*LIGHT)


@flow
def heavy() -> None:
    """Run a few large steps."""
    get_run_logger().info(FIRST_LINE)
    _steps(*HEAVY)


@flow
def hold() -> None:
    """Hold until released."""
    get_run_logger().info(FIRST_LINE)
    wait_for_release()


@flow
def noise() -> None:
    """Write log lines and emit events."""
    get_run_logger().info(FIRST_LINE)
    _noise()


@task
def noop_task() -> None:
    """Do the same as `noop`."""
    get_run_logger().info(FIRST_LINE)


@task
def light_task() -> None:
    """Do the same as `light`."""
    get_run_logger().info(FIRST_LINE)
    _steps(*LIGHT)


@task
def heavy_task() -> None:
    """Do the same as `heavy`."""
    get_run_logger().info(FIRST_LINE)
    _steps(*HEAVY)


@task
def hold_task() -> None:
    """Do the same as `hold`."""
    get_run_logger().info(FIRST_LINE)
    wait_for_release()
