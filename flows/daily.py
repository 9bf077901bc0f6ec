"""The flow `daily`: triggered any number of times a day, it does its work once."""

import datetime as dt
from collections import Counter
from typing import Literal

from prefect import flow, get_run_logger, tags, task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.helpers.locks import lock
from flows.helpers.notify import notify
from flows.helpers.past_runs import find_runs, ran_within
from flows.helpers.tags import add_tags

DAY = dt.timedelta(days=1)


@task(name="daily.report.count")
def count(since: dt.datetime) -> dict[str, int]:
    """Return how many flow runs started since `since` have ended in each state, by state name."""
    ended = [run.state for run in find_runs(since=since) if run.state and run.state.is_final()]
    return dict(Counter(state.name or state.type.value for state in ended))


@flow(name="daily.report")
def report() -> str:
    """Report how the flow runs of the last day ended, as a table artifact and as a notification.

    Returns:
        The text of the notification.
    """
    counts = count(dt.datetime.now(dt.UTC) - DAY)
    rows = [{"state": state, "runs": runs} for state, runs in sorted(counts.items())]
    create_table_artifact(key="daily", table=rows, description="Flow runs of the last day")
    message = ", ".join(f"{runs} {state}" for state, runs in sorted(counts.items())) or "none"
    notify(message, "Flow runs of the last day")
    return message


@flow(name="daily")
def daily(env: Literal["pre", "snd", "pro"] = "pro") -> State[str]:
    """Report on the last day's runs, unless that was already done today for this environment.

    Any number of triggers may start it, even at the same moment: only one of them does the work. If
    the report fails, the next trigger tries again. Days are counted in UTC. A run that had nothing
    to do ends as `Skipped`, which is a kind of Completed, and gives the reason.

    Args:
        env: Environment to do the day's work for. Each environment has a lock of its own. The run
            is tagged with it.
    """
    add_tags(f"env:{env}")
    now = dt.datetime.now(dt.UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    with lock(f"daily-{env}") as acquired, tags(f"env:{env}"):
        if not acquired:
            return skip(f"another run is doing the work for {env}")
        # Ask while holding the lock, and ask about the subflow: the server knows that the subflow
        # has ended before the lock is released, but not yet that this run has.
        if ran_within(now - midnight, report.name, tags=[f"env:{env}"]):
            return skip(f"the work for {env} was already done today")
        return Completed(message=f"Worked: {report()}")


def skip(reason: str) -> State[str]:
    """Return the final state of a run that had nothing to do."""
    get_run_logger().info("Skipped: %s", reason)
    return Completed(name="Skipped", message=reason)
