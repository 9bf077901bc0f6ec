"""What a worker that was killed has left: its processes are ended, its runs reported."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from prefect.exceptions import Abort, ObjectNotFound
from prefect.states import Crashed
from prefect.utilities.engine import propose_state

if TYPE_CHECKING:
    import logging

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

    from worker.prefork.journal import Entry, Journal

MESSAGE = "The worker was killed, and the process of this run with it."


async def settle(
    journal: Journal, client: PrefectClient, logger: logging.Logger | logging.LoggerAdapter[Any]
) -> None:
    """End and report what workers of the same name have left, all at once.

    What cannot be reported is left to the next start, and is in the way of nothing.
    """
    with journal.left_behind() as entries:
        results = await asyncio.gather(
            *(_settle(entry, client) for entry in entries), return_exceptions=True
        )
    for entry, result in zip(entries, results, strict=True):
        if isinstance(result, Exception):
            logger.warning(
                "Flow run '%s', which a killed worker has left, could not be reported; the next"
                " start of the worker tries again: %r",
                *(entry.flow_run_id, result),
            )


async def _settle(entry: Entry, client: PrefectClient) -> None:
    await entry.end()
    try:
        flow_run = await client.read_flow_run(entry.flow_run_id)
        if is_left(flow_run, entry):
            await propose_state(client, Crashed(message=MESSAGE), flow_run_id=flow_run.id)
    except (ObjectNotFound, Abort):  # it was deleted, or has ended
        pass
    entry.forget()


def is_left(flow_run: FlowRun, entry: Entry) -> bool:
    """Whether the run still is what the entry says: not ended, taken by another, put off."""
    state = flow_run.state
    if state is None or flow_run.infrastructure_pid not in (None, str(entry.pid), entry.before):
        return False
    if not entry.pid:  # it had no process; where it goes on, it is another's
        return state.is_pending()
    waits = state.is_paused() and state.name != "Suspended"  # in its process, which is gone
    return state.is_running() or state.is_pending() or state.is_cancelling() or waits
