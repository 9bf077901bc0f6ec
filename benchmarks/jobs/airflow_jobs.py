"""The jobs as Airflow DAGs."""
# Airflow is in an environment of its own.
# mypy: ignore-errors

from __future__ import annotations

from airflow.sdk import chain, dag, get_current_context, task
from work import HEAVY, LIGHT, fib, first_line, wait_for_release


@task
def first() -> None:
    """The first line."""
    first_line(get_current_context()["run_id"])


@task
def step(n: int) -> None:
    """One step."""
    fib(n)


@task
def first_step(n: int) -> None:
    """The first of many steps, with the first line."""
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
    """Nothing but the first line."""
    first()


@dag(schedule=None)
def light() -> None:
    """Many small steps, one after the other."""
    _steps(*LIGHT)


@dag(schedule=None)
def heavy() -> None:
    """Few large steps, one after the other."""
    _steps(*HEAVY)


@dag(schedule=None)
def hold() -> None:
    """Hold until released."""
    held()


noop()
light()
heavy()
hold()
