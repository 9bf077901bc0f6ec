"""The jobs as Prefect flows and, for `task.serve`, as tasks. Stands alone: it is copied away."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

FIRST_LINE = "first line"
LIGHT = (40, 10)  # how many steps, of which Fibonacci number
HEAVY = (10, 33)
NOISE_LINES = 20
NOISE_EVENTS = 10


def fib(n: int) -> int:
    """The Fibonacci number `n`, slowly."""
    return n if n <= 1 else fib(n - 1) + fib(n - 2)


def wait_for_release() -> None:
    """Say that this job runs, then hold until the folder is taken away."""
    folder = Path(os.environ["BENCH_HOLD"])
    (folder / uuid.uuid4().hex).touch()
    while folder.exists():
        time.sleep(0.1)


@task(cache_policy=NO_CACHE)
def step(n: int) -> int:
    """One step, run anew however often its number came before."""
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
    """Nothing but a line."""
    get_run_logger().info(FIRST_LINE)


@flow
def light() -> None:
    """Many small steps."""
    get_run_logger().info(FIRST_LINE)
    _steps(*LIGHT)


@flow
def heavy() -> None:
    """Few large steps."""
    get_run_logger().info(FIRST_LINE)
    _steps(*HEAVY)


@flow
def hold() -> None:
    """Hold until released."""
    get_run_logger().info(FIRST_LINE)
    wait_for_release()


@flow
def noise() -> None:
    """Log lines and events."""
    get_run_logger().info(FIRST_LINE)
    _noise()


@task
def noop_task() -> None:
    """As `noop`."""
    get_run_logger().info(FIRST_LINE)


@task
def light_task() -> None:
    """As `light`."""
    get_run_logger().info(FIRST_LINE)
    _steps(*LIGHT)


@task
def heavy_task() -> None:
    """As `heavy`."""
    get_run_logger().info(FIRST_LINE)
    _steps(*HEAVY)


@task
def hold_task() -> None:
    """As `hold`."""
    get_run_logger().info(FIRST_LINE)
    wait_for_release()
