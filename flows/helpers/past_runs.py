"""Queries for past flow runs."""

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

PAGE = 200  # the API returns no more than this per request
COMPLETED = ("Completed",)
# Upstream #15031.
UNREADABLE = (
    "the server cannot list these runs (500). One of them may have a parameter beyond 64 bits, "
    "which the server accepts but cannot show: delete that run, or ask for a period without it"
)


def find_runs(
    name_like: str | None = None,
    tags: Iterable[str] = (),
    states: Iterable[str] = (),
    since: dt.datetime | None = None,
) -> list[FlowRun]:
    """Return the matching flow runs that were due by now, newest first, including subflow runs.

    Args:
        name_like: Part of the name of the *flow*, ignoring case. `%` matches any text and `_` any
            single character. None matches every flow.
        tags: A run has to have all of these.
        states: A run has to be in one of these, given by name as the UI shows it: `Completed`,
            `Failed`, `TimedOut`, `Crashed`, ... An empty list matches every state.
        since: The earliest start of a run, or its scheduled time if it has not started. A time
            without a zone is local.

    Raises:
        ValueError: A state is in capitals, which is how its type is written, not its name.
        RuntimeError: One of the runs is one that the server cannot show.
        httpx.HTTPError: The server cannot be reached, or refuses the request.
    """
    flow_filter = FlowFilter(name=FlowFilterName(like_=name_like)) if name_like else None
    run_filter = _filter(tags, states, since)
    with get_client(sync_client=True) as client:
        runs = _pages(client, flow_filter, run_filter)
        # A run that starts while the pages are read shifts the others, so that some come twice.
        return list({run.id: run for run in runs}.values())


def ran_within(
    period: dt.timedelta,
    flow_name: str | None = None,
    *,
    tags: Iterable[str] = (),
    states: Iterable[str] = COMPLETED,
) -> bool:
    """Return whether a flow has run within the last `period`; the current run never counts.

    Args:
        period: How far to look back from now. A run counts if it started within this time.
        flow_name: The full name of the flow. By default, the flow that calls this.
        tags: See `find_runs`.
        states: See `find_runs`.

    Raises:
        RuntimeError: No flow is named, and the call is not made in one.
        ValueError: See `find_runs`.
        httpx.HTTPError: The server cannot be reached, or refuses the request.
    """
    flow_name = flow_name or flow_run.flow_name
    if flow_name is None:
        raise RuntimeError("ran_within: expected a flow's name or a call in a flow, found neither")
    run_filter = _filter(tags, states, dt.datetime.now(dt.UTC) - period)
    if flow_run.id:
        run_filter.id = FlowRunFilterId(not_any_=[flow_run.id])
    with get_client(sync_client=True) as client:
        flow_filter = FlowFilter(name=FlowFilterName(any_=[flow_name]))
        # Count the runs instead of reading them: a run that the server cannot show must not make
        # the answer an error.
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
        # Without an upper limit, runs that schedules have created for the next days would be first.
        start_time=FlowRunFilterStartTime(after_=after, before_=dt.datetime.now(dt.UTC)),
    )
