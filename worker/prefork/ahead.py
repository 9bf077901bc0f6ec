"""Runs that are known before their time: each is submitted shortly before it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from worker.prefork.due import seconds_until_due

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from uuid import UUID

    from prefect.client.schemas.responses import WorkerFlowRunResponse

# A scheduled run is forked so long before its time, and begins at it.
AHEAD_SECONDS = 0.5


class Ahead:
    """What a poll has found too early."""

    def __init__(self, submit: Callable[[WorkerFlowRunResponse], Awaitable[object]]) -> None:
        """Of none yet; `submit` is called for each when it is time."""
        self._submit = submit
        self._held: dict[UUID, asyncio.Task[None]] = {}

    @property
    def flow_run_ids(self) -> Collection[UUID]:
        """The runs that wait."""
        return self._held.keys()

    def due(
        self, found: list[WorkerFlowRunResponse], *, at_once: bool
    ) -> list[WorkerFlowRunResponse]:
        """Those of `found` whose time has come, or all of them `at_once`; the others are held.

        A run that is held and is not in `found` any more is not to run.
        """
        due = []
        for entry in found:
            wait = seconds_until_due(entry.flow_run) - AHEAD_SECONDS
            if wait <= 0 or at_once:
                self._forget(entry.flow_run.id)
                due.append(entry)
            elif entry.flow_run.id not in self._held:
                task = asyncio.create_task(self._later(entry, wait))
                self._held[entry.flow_run.id] = task
        for gone in self._held.keys() - {entry.flow_run.id for entry in found}:
            self._forget(gone)
        return due

    def close(self) -> None:
        """Submit none of them."""
        for flow_run_id in list(self._held):
            self._forget(flow_run_id)

    def _forget(self, flow_run_id: UUID) -> None:
        if held := self._held.pop(flow_run_id, None):
            held.cancel()

    async def _later(self, entry: WorkerFlowRunResponse, wait: float) -> None:
        await asyncio.sleep(wait)
        self._held.pop(entry.flow_run.id, None)
        await self._submit(entry)
