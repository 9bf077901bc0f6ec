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
def held() -> None:
    """Hold until released."""
    first_line(get_current_context()["run_id"])
    wait_for_release()


@dag(schedule=None)
def noop() -> None:
    """Nothing but the first line."""
    first()


@dag(schedule=None)
def light() -> None:
    """Many small steps, one after the other."""
    chain(first(), *(step(LIGHT[1]) for _ in range(LIGHT[0])))


@dag(schedule=None)
def heavy() -> None:
    """Few large steps, one after the other."""
    chain(first(), *(step(HEAVY[1]) for _ in range(HEAVY[0])))


@dag(schedule=None)
def hold() -> None:
    """Hold until released."""
    held()


noop()
light()
heavy()
hold()
