"""Flows that exercise the helpers in `flows/helpers` against a real server.

Each `probe_NAME` runs in a clone as `python -m tests.embedded.probed_flows NAME ARGUMENT…`, with
the variables that `scripts/stack env` prints. Its answer is the last line of output, as JSON.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Literal
from unittest.mock import patch

from prefect import flow, tags, task
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import VariableCreate
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterStartTime,
)
from prefect.runtime import flow_run
from prefect.states import Completed, Running

from flows import daily as shipped
from flows.helpers.locks import lock
from flows.helpers.notify import notify
from flows.helpers.past_runs import find_runs, ran_within
from flows.helpers.tags import add_tags

if TYPE_CHECKING:
    from collections.abc import Callable

RACERS = 8
DAY = dt.timedelta(days=1)


def answer(value: object) -> None:
    """Print the answer for the test."""
    print(json.dumps(value), flush=True)  # noqa: T201


@task(name="tagged.part")
def tag_part(number: int) -> None:
    add_tags(f"from:task-{number}")


@task(name="tagged.twice")
async def tag_async_part() -> None:
    add_tags("from:async-task")


@flow(name="tagged")
def tagged() -> str:
    add_tags("from:flow", "any string")
    tag_part.map(range(RACERS)).wait()
    return str(flow_run.id)


@flow(name="tagged.async")
async def tagged_async() -> str:
    add_tags("from:flow")
    await asyncio.to_thread(add_tags, "from:thread")
    await tag_async_part()
    return str(flow_run.id)


def probe_tags() -> list[str]:
    """Return the ids of a sync and an async run that were tagged in every way."""
    with tags("given:before"):
        return [tagged(), asyncio.run(tagged_async())]


@task(name="told.part")
def tell_part() -> None:
    notify("from a task")


@flow(name="told")
def told() -> str:
    notify("from a flow", "Subject")
    tell_part()
    return str(flow_run.id)


@flow(name="told.async")
async def told_async() -> str:
    notify("from an async flow")
    await asyncio.to_thread(notify, "from a thread")
    return str(flow_run.id)


def probe_notify() -> list[str]:
    """Call `notify` outside of any run, then in two runs; return the ids of the runs."""
    assert not notify("from outside")
    return [told(), asyncio.run(told_async())]


def probe_past(name: str, count: str) -> dict[str, Any]:
    """Create `count` runs of a flow; return what `find_runs` and `ran_within` say of them."""
    past = flow(name=name)(lambda: None)
    with get_client(sync_client=True) as client:
        created = [
            client.create_flow_run(
                past, tags=["part:odd", "all"] if n % 2 else ["all"], state=Completed()
            )
            for n in range(int(count))
        ]
        odd = [str(run.id) for run in created[1::2]]
        client.create_flow_run(past, tags=["all"], state=Running())
    found = find_runs(name[2:-2].upper())
    starts = [run.start_time or run.expected_start_time for run in found]
    return {
        "all": len(found),
        "newest first": starts == sorted(starts, key=str, reverse=True),
        "odd": sorted(odd) == sorted(str(run.id) for run in find_runs(name, ["part:odd", "all"])),
        "running": len(find_runs(name, states=["Running"])),
        "either": len(find_runs(name, states=["Running", "Completed"])),
        "since a day": len(find_runs(name, since=dt.datetime.now(dt.UTC) - DAY)),
        "since tomorrow": len(find_runs(name, since=dt.datetime.now(dt.UTC) + DAY)),
        "without zone": len(find_runs(name, since=dt.datetime.now() - DAY)),  # noqa: DTZ005
        "ran": ran_within(DAY, name),
        "ran odd": ran_within(DAY, name, tags=["part:odd"]),
        "ran even": ran_within(DAY, name, tags=["part:even"]),
        "failed": ran_within(DAY, name, states=["Failed"]),
        "ran in no time": ran_within(dt.timedelta(0), name),
        "part of the name": ran_within(DAY, name[:-1]),
    }


def probe_itself(name: str) -> list[bool]:
    """Run a flow three times, the second of which fails; each asks whether it ran within a day."""
    fails = iter([False, True, False])
    answers = []

    @flow(name=name)
    def asked() -> None:
        answers.append(ran_within(DAY, states=["Completed", "Running"]))
        if next(fails):
            raise RuntimeError("on purpose")

    for _ in range(3):
        asked(return_state=True)
    return answers


def probe_ahead() -> dict[str, int]:
    """Count the runs of hello that are due later, and those of them that `find_runs` returns."""
    later = FlowRunFilterStartTime(after_=dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1))
    with get_client(sync_client=True) as client:
        ahead = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["hello"])),
            flow_run_filter=FlowRunFilter(start_time=later),
        )
    found = {run.id for run in find_runs("hello")}
    return {"ahead": len(ahead), "found": len([run for run in ahead if run.id in found])}


def probe_race(name: str) -> list[int]:
    """Race for a lock in four rounds; return how many runs acquired it in each.

    It is free at first, then held by a run that has ended, by one that does not exist, and by
    a value that is not the id of a run.
    """
    with get_client(sync_client=True) as client:
        ended = client.create_flow_run(flow(name="racer.gone")(lambda: None), state=Completed())
        nobody = "00000000-0000-0000-0000-000000000000"
        rounds = []
        for holder in (None, str(ended.id), nobody, "no id at all"):
            if holder:
                client.create_variable(VariableCreate(name=name, value=holder))
            rounds.append(race(name))
    return rounds


def race(name: str) -> int:
    """Have `RACERS` runs ask for a lock at once; return how many acquire it."""
    start, end = threading.Barrier(RACERS), threading.Barrier(RACERS)
    acquired = []

    @flow(name="racer")
    def racer() -> None:
        start.wait()
        with lock(name) as mine:
            acquired.append(mine)
            end.wait()

    threads = [threading.Thread(target=racer) for _ in range(RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(acquired) == RACERS
    return sum(acquired)


def probe_die(name: str) -> None:
    """Acquire a lock, and die without releasing it, as when the machine loses power."""

    @flow(name="racer.dying")
    def dying() -> None:
        with lock(name) as mine:
            assert mine
            answer(str(flow_run.id))
            os.kill(os.getpid(), signal.SIGKILL)

    dying()


def probe_lock(name: str) -> bool:
    """Tell whether a new run acquires the lock."""

    @flow(name="racer.next")
    def following() -> bool:
        with lock(name) as mine:
            return mine

    return following()


def probe_daily(env: Literal["pre", "snd", "pro"]) -> list[str]:
    """Run `daily` three times, the first unable to create its artifact; return its final states."""

    def fails(**_: object) -> None:
        raise OSError("on purpose")

    states = []
    for creating in (fails, create_table_artifact, create_table_artifact):
        with patch.object(shipped, "create_table_artifact", creating):
            state = shipped.daily(env, return_state=True)
        states.append(f"{state.name}: {state.message}")
    return states


PROBES: dict[str, Callable[..., Any]] = {
    name.removeprefix("probe_"): probe
    for name, probe in list(globals().items())
    if name.startswith("probe_")
}

if __name__ == "__main__":
    answer(PROBES[sys.argv[1]](*sys.argv[2:]))
