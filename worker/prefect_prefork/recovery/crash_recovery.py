"""Cleans up after a worker that was killed: ends its processes and reports its runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from prefect.exceptions import Abort, ObjectNotFound

from prefect_prefork.common import linux
from prefect_prefork.recovery.reporting import Return, StoppedError

if TYPE_CHECKING:
    import logging

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

    from prefect_prefork.recovery.journal import Entry, Journal
    from prefect_prefork.recovery.reporting import Reporter

MESSAGE = "The worker was killed, and the process of this run with it."
KILLED = Return("The worker was killed before the run began.")
WORKER_NAME = "prefect.worker.name"  # the label by which Prefect's workers claim a run


async def settle(
    journal: Journal,
    client: PrefectClient,
    reporter: Reporter,
    logger: logging.Logger | logging.LoggerAdapter[Any],
) -> None:
    """End and report, concurrently, the runs that killed workers of the same name have left.

    This goes on until the server has accepted everything or the worker stops. What is left then is
    handled at the next start.
    """
    entries = journal.take_over()
    results = await asyncio.gather(
        *(_settle(entry, client, reporter) for entry in entries), return_exceptions=True
    )
    for entry, result in zip(entries, results, strict=True):
        if isinstance(result, Exception) and not isinstance(result, StoppedError):
            logger.error(
                "Flow run '%s', which a killed worker has left, could not be reported: %r",
                *(entry.flow_run_id, result),
            )


async def _settle(entry: Entry, client: PrefectClient, reporter: Reporter) -> None:
    await entry.stop()
    try:
        if end := entry.end:
            await reporter.end(entry, end)
        elif not await reporter.give_back(entry, KILLED):
            what = f"Reading flow run '{entry.flow_run_id}', which a killed worker has left"
            flow_run = await reporter.insist(what, lambda: client.read_flow_run(entry.flow_run_id))
            if is_left(flow_run, entry, reporter.worker_name):
                await reporter.crashed(entry, MESSAGE)
    except (ObjectNotFound, Abort):  # the run was deleted, or has ended
        pass
    entry.forget()


def is_left(flow_run: FlowRun, entry: Entry, worker_name: str) -> bool:
    """Return whether the run is still in a state in which it needs its lost process.

    It is not if it has ended, was rescheduled, or belongs to another worker by now.
    """
    state = flow_run.state
    if state is None or not _is_its_process(flow_run, entry, worker_name):
        return False
    if entry.is_readable and not entry.pid:
        return False  # it had no process; if it runs, then in another worker
    in_process = state.is_paused() and state.name != "Suspended"  # a pause waits in the process
    retries = state.is_scheduled() and state.name == "AwaitingRetry"  # and so does a retry
    return (
        state.is_running() or state.is_pending() or state.is_cancelling() or in_process or retries
    )


def _is_its_process(flow_run: FlowRun, entry: Entry, worker_name: str) -> bool:
    """Return whether the server names the process of the entry, which has ended."""
    pid = flow_run.infrastructure_pid
    if pid is None or entry.is_readable:
        return pid in {None, str(entry.pid), entry.before}
    # The entry is empty, as after a power cut. Its process belonged to a worker of this name, and
    # is gone, since forks end with their worker.
    ours = flow_run.labels.get(WORKER_NAME, worker_name) == worker_name
    return ours and pid.isdecimal() and linux.started(int(pid)) is None
