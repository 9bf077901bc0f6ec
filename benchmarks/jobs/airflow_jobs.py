"""The jobs as Airflow DAGs."""
# Airflow is installed in another environment.
# mypy: ignore-errors

from __future__ import annotations

from airflow.sdk import chain, dag, get_current_context, task
from work import HEAVY, LIGHT, fib, first_line, wait_for_release


@task
def first() -> None:
    """Write the first line."""
    first_line(get_current_context()["run_id"])


@task
def step(n: int) -> None:
    """Run one step."""
    fib(n)


@task
def first_step(n: int) -> None:
    """Write the first line, then run the first of many steps."""
    first_line(get_current_context()["run_id"])
    fib(n)


@task
def held() -> None:
    """Hold until released."""
    first_line(get_current_context()["run_id"])
    wait_for_release()


def _steps(count: int, n: int) -> None:
    chain(first_step(n), *(step(n) for _ in range(count - 1)))


@dag(schedule=None)
def noop() -> None:
    """Write only the first line."""
    first()


@dag(schedule=None)
def light() -> None:
    """Run many small steps, one after another."""
    _steps(*LIGHT)


@dag(schedule=None)
def heavy() -> None:
    """Run a few large steps, one after another."""
    _steps(*HEAVY)


@dag(schedule=None)
def hold() -> None:
    """Hold until released."""
    held()


noop()
light()
heavy()
hold()
