"""Polls as soon as the server's events say that a run is scheduled."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventResourceFilter

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Collection
    from typing import Any
    from uuid import UUID

PREFIX = "prefect.flow-run."
# The event is sent before the run is committed, so the first poll may not see it. Further polls
# follow after these delays, in seconds.
DELAYS = (0.03, 0.06, 0.1, 0.2, 0.4, 0.8)
# The shortest time between two such polls: a burst of runs shares them.
GAP_SECONDS = 0.1
# A run that no poll returns waits for a free slot in its work pool or queue, or is for another
# worker. For this long, the end of another run is a reason to poll again; later the regular poll
# finds it.
WAIT_SECONDS = 60
RECONNECT_SECONDS = 5


class EventPolling:
    """Polls when a run of the work pool is scheduled, and when a slot for a waiting run is free."""

    def __init__(
        self,
        poll: Callable[[], Awaitable[Collection[UUID]]],
        full: Callable[[], bool],
        logger: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        """Prepare; `run` begins to listen.

        Args:
            poll: asks for runs and submits them; returns the ids of all runs that the worker has.
            full: returns whether the worker's own runs take all slots of its work pool.
            logger: is told when the events cannot be received.
        """
        self._poll = poll
        self._full = full
        self._logger = logger
        self._wanted: dict[str, int] = {}  # by id of the run: how many polls have not returned it
        self._waiting: dict[str, float] = {}  # by id of the run: until when
        self._due: float | None = None  # when to poll
        self._polled = 0.0
        self._was_full = False
        self._woken = asyncio.Event()

    async def run(self, work_pool_id: UUID) -> None:
        """Listen and poll, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(work_pool_id))
            tasks.create_task(self._serve())

    def polled(self) -> None:
        """Note that the worker has polled and has submitted what came, whatever the reason was."""
        self._polled = time.monotonic()
        self._was_full = self._full()

    def ended(self, *, wanted: bool) -> None:
        """Note that a run has ended, so that its slot is free; `wanted`: it is to run again."""
        if wanted or self._was_full or self._waiting:
            self._news()

    def _news(self) -> None:
        self._poll_at(max(time.monotonic(), self._polled + GAP_SECONDS))

    def _poll_at(self, due: float) -> None:
        self._due = due if self._due is None else min(due, self._due)
        self._woken.set()

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
                        self._news()
            except Exception as error:  # noqa: BLE001 - whatever it is, polling goes on
                if not lost:
                    self._logger.warning(
                        "The server's events cannot be received (%s): polling finds new runs.",
                        error or type(error).__name__,
                    )
                lost = True
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _serve(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._due is not None:
                if (wait := self._due - time.monotonic()) > 0:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(wait):
                            await self._woken.wait()
                    self._woken.clear()
                    continue
                self._due = None
                await self._look()

    async def _look(self) -> None:
        now = time.monotonic()
        self._waiting = {each: until for each, until in self._waiting.items() if until > now}
        if self._full():
            self._was_full = True
            self._wait_for_a_slot(list(self._wanted))
            return
        asked = list(self._wanted)
        try:
            found = {str(each) for each in await self._poll()}
        except Exception as error:  # noqa: BLE001 - the regular poll reports it, and goes on
            self._logger.debug("A poll for a new run failed: %s", error)
            found = set()
        for each in found:
            self._wanted.pop(each, None)
            self._waiting.pop(each, None)
        for each in asked:
            if each in found:
                continue
            tries = self._wanted[each]
            if self._was_full or tries == len(DELAYS):
                self._wait_for_a_slot([each])
            else:
                self._wanted[each] = tries + 1
                self._poll_at(time.monotonic() + DELAYS[tries])

    def _wait_for_a_slot(self, ids: Collection[str]) -> None:
        for each in ids:
            del self._wanted[each]
            self._waiting[each] = time.monotonic() + WAIT_SECONDS
