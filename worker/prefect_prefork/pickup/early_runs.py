"""Holds runs that are known before their scheduled time, and submits them shortly before it."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import WorkerFlowRunResponse

# A scheduled run is forked this long before its time, and begins at its time.
AHEAD_SECONDS = 0.5
# A run that is scheduled no later than this after its creation is to begin at once.
AT_ONCE = timedelta(seconds=1)


def seconds_until_due(flow_run: FlowRun) -> float:
    """Return how long `flow_run` has to wait for its scheduled time; negative if that has passed.

    It is 0 for a run that is to begin at once, whatever the clock of this machine says.
    """
    due = flow_run.next_scheduled_start_time
    if due is None or (flow_run.created and due <= flow_run.created + AT_ONCE):
        return 0.0
    return due.timestamp() - time.time()


class EarlyRuns:
    """Holds the runs that a poll has returned before their scheduled time."""

    def __init__(self, submit: Callable[[WorkerFlowRunResponse], Awaitable[object]]) -> None:
        """Hold nothing yet. `submit` is awaited for each run shortly before it is due."""
        self._submit = submit
        self._held: dict[UUID, asyncio.Task[None]] = {}

    @property
    def flow_run_ids(self) -> Collection[UUID]:
        """The runs that are held."""
        return self._held.keys()

    def due(
        self, polled: list[WorkerFlowRunResponse], *, at_once: bool
    ) -> list[WorkerFlowRunResponse]:
        """Return the runs in `polled` that are due, or all of them if `at_once`; hold the others.

        A run that is held but not in `polled` was cancelled or rescheduled, and is dropped.
        """
        due = []
        for entry in polled:
            wait = seconds_until_due(entry.flow_run) - AHEAD_SECONDS
            if wait <= 0 or at_once:
                self._forget(entry.flow_run.id)
                due.append(entry)
            elif entry.flow_run.id not in self._held:
                task = asyncio.create_task(self._later(entry, wait))
                self._held[entry.flow_run.id] = task
        for gone in self._held.keys() - {entry.flow_run.id for entry in polled}:
            self._forget(gone)
        return due

    def close(self) -> None:
        """Drop all runs that are held."""
        for flow_run_id in list(self._held):
            self._forget(flow_run_id)

    def _forget(self, flow_run_id: UUID) -> None:
        if held := self._held.pop(flow_run_id, None):
            held.cancel()

    async def _later(self, entry: WorkerFlowRunResponse, wait: float) -> None:
        await asyncio.sleep(wait)
        self._held.pop(entry.flow_run.id, None)
        await self._submit(entry)
