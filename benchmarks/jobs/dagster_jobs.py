"""The jobs as Dagster jobs, with its default executor, which starts a process for each step."""
# Dagster is installed in another environment.
# mypy: ignore-errors

import dagster
from work import HEAVY, LIGHT, fib, first_line, wait_for_release


@dagster.op
def first(context: dagster.OpExecutionContext) -> None:
    """Write the first line."""
    first_line(context.run_id)


@dagster.op
def first_light(context: dagster.OpExecutionContext) -> int:
    """Write the first line, then run the first small step."""
    first_line(context.run_id)
    return fib(LIGHT[1])


@dagster.op
def first_heavy(context: dagster.OpExecutionContext) -> int:
    """Write the first line, then run the first large step."""
    first_line(context.run_id)
    return fib(HEAVY[1])


@dagster.op
def step_light(before: int) -> int:
    """Run one small step."""
    return fib(LIGHT[1])


@dagster.op
def step_heavy(before: int) -> int:
    """Run one large step."""
    return fib(HEAVY[1])


@dagster.op
def held(context: dagster.OpExecutionContext) -> None:
    """Hold until released."""
    first_line(context.run_id)
    wait_for_release()


@dagster.job
def noop() -> None:
    """Write only the first line."""
    first()


@dagster.job
def light() -> None:
    """Run many small steps."""
    done = first_light()
    for number in range(1, LIGHT[0]):
        done = step_light.alias(f"step_{number}")(done)


@dagster.job
def heavy() -> None:
    """Run a few large steps."""
    done = first_heavy()
    for number in range(1, HEAVY[0]):
        done = step_heavy.alias(f"step_{number}")(done)


@dagster.job
def hold() -> None:
    """Hold until released."""
    held()


defs = dagster.Definitions(jobs=[noop, light, heavy, hold])
