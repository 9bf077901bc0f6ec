"""What the server knows of past flow runs."""

import datetime as dt
import itertools
from collections.abc import Iterable, Iterator

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.runtime import flow_run

PAGE = 200  # the most that the API gives at once
COMPLETED = ("Completed",)
# Upstream #15031.
UNREADABLE = (
    "the server cannot list these runs (500). One of them may have a parameter beyond 64 bits, "
    "which the server takes and cannot show: delete that run, or ask for a time without it"
)


def find_runs(
    name_like: str | None = None,
    tags: Iterable[str] = (),
    states: Iterable[str] = (),
    since: dt.datetime | None = None,
) -> list[FlowRun]:
    """The flow runs that were due up to now, newest first, subflow runs among them.

    Args:
        name_like: Part of the name of the *flow*, in any case. `%` stands for any text in it and
            `_` for any one character. Absent: of every flow.
        tags: Each run has all of these.
        states: Each run is in one of these, which are names as the UI shows them: `Completed`,
            `Failed`, `TimedOut`, `Crashed`, ... None: in any.
        since: When the oldest began, or was due if it has not begun. Local time if it has no zone.

    Raises:
        ValueError: A state is in capitals, which is how its type is written, not its name.
        RuntimeError: The server has a run among them that it cannot show.
        httpx.HTTPError: The server cannot be reached, or refuses.
    """
    flow_filter = FlowFilter(name=FlowFilterName(like_=name_like)) if name_like else None
    run_filter = _filter(tags, states, since)
    with get_client(sync_client=True) as client:
        found = _pages(client, flow_filter, run_filter)
        # A run that begins while pages are read moves those behind it: they come twice.
        return list({run.id: run for run in found}.values())


def ran_within(
    period: dt.timedelta,
    flow_name: str | None = None,
    *,
    tags: Iterable[str] = (),
    states: Iterable[str] = COMPLETED,
) -> bool:
    """Whether a flow has run within the last `period`. The present run itself never counts.

    Args:
        period: Back from now. A run counts when it began in it.
        flow_name: The whole name of the flow. Absent: of the flow that this is called in.
        tags: As `find_runs` takes them.
        states: As `find_runs` takes them.

    Raises:
        RuntimeError: No flow is named, and this is not called in one.
        ValueError: As from `find_runs`.
        httpx.HTTPError: The server cannot be reached, or refuses.
    """
    flow_name = flow_name or flow_run.flow_name
    if flow_name is None:
        raise RuntimeError("ran_within: expected a flow's name or a call in a flow, found neither")
    run_filter = _filter(tags, states, dt.datetime.now(dt.UTC) - period)
    if flow_run.id:
        run_filter.id = FlowRunFilterId(not_any_=[flow_run.id])
    with get_client(sync_client=True) as client:
        flow_filter = FlowFilter(name=FlowFilterName(any_=[flow_name]))
        # Counted, not read: one run that the server cannot show must not answer for all.
        return client.count_flow_runs(flow_filter=flow_filter, flow_run_filter=run_filter) > 0


def _pages(
    client: SyncPrefectClient, flow_filter: FlowFilter | None, run_filter: FlowRunFilter
) -> Iterator[FlowRun]:
    for offset in itertools.count(step=PAGE):
        try:
            page = client.read_flow_runs(
                flow_filter=flow_filter,
                flow_run_filter=run_filter,
                sort=FlowRunSort.START_TIME_DESC,
                limit=PAGE,
                offset=offset,
            )
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.INTERNAL_SERVER_ERROR:
                raise
            raise RuntimeError(UNREADABLE) from error
        yield from page
        if len(page) < PAGE:
            return


def _filter(tags: Iterable[str], states: Iterable[str], since: dt.datetime | None) -> FlowRunFilter:
    tags = [tags] if isinstance(tags, str) else list(tags)
    states = [states] if isinstance(states, str) else list(states)
    for state in states:
        if state in StateType.__members__:
            raise ValueError(
                "states: expected names as the UI shows them, such as Completed or TimedOut; "
                f"found {state!r}, which is a type"
            )
    after = since.astimezone() if since else None
    return FlowRunFilter(
        tags=FlowRunFilterTags(all_=tags) if tags else None,
        state=FlowRunFilterState(name=FlowRunFilterStateName(any_=states)) if states else None,
        # Without an end, the schedules' runs of the days to come would be the newest.
        start_time=FlowRunFilterStartTime(after_=after, before_=dt.datetime.now(dt.UTC)),
    )
