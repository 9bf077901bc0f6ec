"""The jobs as Dagster jobs, with its default executor: a process for each step."""
# Dagster is in an environment of its own.
# mypy: ignore-errors

import dagster
from work import HEAVY, LIGHT, fib, first_line, wait_for_release


@dagster.op
def first(context: dagster.OpExecutionContext) -> int:
    """The first line."""
    first_line(context.run_id)
    return 0


@dagster.op
def step_light(before: int) -> int:
    """One small step."""
    return fib(LIGHT[1])


@dagster.op
def step_heavy(before: int) -> int:
    """One large step."""
    return fib(HEAVY[1])


@dagster.op
def held(before: int) -> None:
    """Hold until released."""
    wait_for_release()


@dagster.job
def noop() -> None:
    """Nothing but the first line."""
    first()


@dagster.job
def light() -> None:
    """Many small steps."""
    done = first()
    for number in range(LIGHT[0]):
        done = step_light.alias(f"step_{number}")(done)


@dagster.job
def heavy() -> None:
    """Few large steps."""
    done = first()
    for number in range(HEAVY[0]):
        done = step_heavy.alias(f"step_{number}")(done)


@dagster.job
def hold() -> None:
    """Hold until released."""
    held(first())


defs = dagster.Definitions(jobs=[noop, light, heavy, hold])
