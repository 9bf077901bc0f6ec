"""The flow `daily`: asked for often, does its work once a day."""

import datetime as dt
from collections import Counter
from typing import Literal

from prefect import flow, get_run_logger, tags, task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.helpers.past_runs import find_runs, ran_within
from flows.helpers.slack import notify
from flows.helpers.tags import add_tags
from flows.helpers.turns import turn

DAY = dt.timedelta(days=1)


@task(name="daily.report.count")
def count(since: dt.datetime) -> dict[str, int]:
    """How many flow runs that began since `since` ended in which state."""
    ended = [run.state for run in find_runs(since=since) if run.state and run.state.is_final()]
    return dict(Counter(state.name or state.type.value for state in ended))


@flow(name="daily.report")
def report() -> str:
    """Say how the flow runs of the last day went, in a table and to people.

    Returns:
        The sentence that people are told.
    """
    counts = count(dt.datetime.now(dt.UTC) - DAY)
    rows = [{"state": state, "runs": runs} for state, runs in sorted(counts.items())]
    create_table_artifact(key="daily", table=rows, description="Flow runs of the last day")
    said = ", ".join(f"{runs} {state}" for state, runs in sorted(counts.items())) or "none"
    notify(said, "Flow runs of the last day")
    return said


@flow(name="daily")
def daily(env: Literal["pre", "snd", "pro"] = "pro") -> State[str]:
    """Report on the last day's runs, unless that was done today for the same environment.

    It may be asked for by any number of triggers, also at once: of those that race, one does the
    work. A report that failed was not done: the next trigger works again. A day is one of UTC. A
    run that had nothing to do ends as `Skipped`, which is a kind of Completed, and says why.

    Args:
        env: Environment that the day's work is for: each has its own turn, and is a tag of the run.
    """
    add_tags(f"env:{env}")
    now = dt.datetime.now(dt.UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    with turn(f"daily-{env}") as ours, tags(f"env:{env}"):
        # Asked in the turn, and of the subflow: its end is known to the server before the turn is
        # given back, which the end of this run is not.
        if not ours:
            return skip(f"another run is at the work of {env}")
        if ran_within(now - midnight, report.name, tags=[f"env:{env}"]):
            return skip(f"the work of {env} was done today")
        return Completed(message=f"Worked: {report()}")


def skip(reason: str) -> State[str]:
    """The end of a run that had nothing to do."""
    get_run_logger().info("Skipped: %s", reason)
    return Completed(name="Skipped", message=reason)
