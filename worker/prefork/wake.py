"""Hears from the server that there is a new run, so that nobody waits for the next poll."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventResourceFilter

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Collection
    from typing import Any
    from uuid import UUID

PREFIX = "prefect.flow-run."
# The event comes before the run is committed, so that the first poll may not see it yet. A run that
# is not for this worker, or not yet due, never comes: it is left to the regular poll.
DELAYS = (0.0, 0.03, 0.06, 0.1, 0.2, 0.4, 0.8)
RECONNECT_SECONDS = 5


class Wake:
    """Polls when the server says that a run of the work pool is scheduled."""

    def __init__(
        self,
        poll: Callable[[], Awaitable[Collection[UUID]]],
        logger: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        """`poll` asks for runs and submits them; it returns the ids of those that came."""
        self._poll = poll
        self._logger = logger
        self._wanted: dict[str, int] = {}  # by id of the run: how often it was asked for
        self._woken = asyncio.Event()

    async def run(self, work_pool_id: UUID) -> None:
        """Listen and poll, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(work_pool_id))
            tasks.create_task(self._serve())

    async def _listen(self, work_pool_id: UUID) -> None:
        scheduled = EventFilter(
            resource=EventResourceFilter(
                id_prefix=[PREFIX], labels={"prefect.state-type": "SCHEDULED"}
            ),
            any_resource=EventAnyResourceFilter(id=[f"prefect.work-pool.{work_pool_id}"]),
        )
        lost = False
        while True:
            try:
                async with get_events_subscriber(filter=scheduled) as events:
                    lost = False
                    async for event in events:
                        self._wanted[event.resource.id.removeprefix(PREFIX)] = 0
                        self._woken.set()
            except Exception as error:  # noqa: BLE001 - whatever it is, polling goes on
                if not lost:
                    self._logger.warning(
                        "The server's events cannot be heard (%s): new runs are found by polling.",
                        error or type(error).__name__,
                    )
                lost = True
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _serve(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._wanted:
                tries = min(self._wanted.values())
                await asyncio.sleep(DELAYS[tries])
                asked = list(self._wanted)
                try:
                    found = {str(each) for each in await self._poll()}
                except Exception as error:  # noqa: BLE001 - the regular poll says it, and goes on
                    self._logger.debug("A poll for a new run failed: %s", error)
                    found = set()
                for each in asked:
                    self._wanted[each] += 1
                    if each in found or self._wanted[each] == len(DELAYS):
                        del self._wanted[each]
