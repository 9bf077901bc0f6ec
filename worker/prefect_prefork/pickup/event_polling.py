"""Polls as soon as an event of the server announces a scheduled run."""

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
# The event is sent before the transaction of the run is committed, so the first poll may not return
# the run. Further polls follow after these delays, in seconds.
DELAYS = (0.03, 0.06, 0.1, 0.2, 0.4, 0.8)
# The shortest time between two such polls, so that a burst of runs shares one.
GAP_SECONDS = 0.1
# A run that no poll returns is waiting for a free slot in its work pool or queue, or has gone to
# another worker. For this long, the end of another run is a reason to poll again; after that, the
# regular poll returns it.
WAIT_SECONDS = 60
RECONNECT_SECONDS = 5


class EventPolling:
    """Polls when a run of the work pool is scheduled, and when a slot becomes free for one."""

    def __init__(
        self,
        poll: Callable[[], Awaitable[Collection[UUID]]],
        full: Callable[[], bool],
        logger: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        """Prepare; `run` begins to listen.

        Args:
            poll: polls for runs and submits them; returns the ids of all runs of the worker.
            full: returns whether the runs of the worker take all slots of its work pool.
            logger: gets a warning when the events cannot be received.
        """
        self._poll = poll
        self._full = full
        self._logger = logger
        self._wanted: dict[
            str, int
        ] = {}  # id of a run -> number of polls that have not returned it
        self._waiting: dict[str, float] = {}  # id of a run -> until when it may wait for a slot
        self._due: float | None = None  # when to poll next
        self._polled = 0.0
        self._was_full = False
        self._woken = asyncio.Event()

    async def run(self, work_pool_id: UUID) -> None:
        """Listen and poll, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(work_pool_id))
            tasks.create_task(self._serve())

    def polled(self) -> None:
        """Call this after every poll of the worker, whatever the reason for it was."""
        self._polled = time.monotonic()
        self._was_full = self._full()

    def ended(self, *, wanted: bool) -> None:
        """Call this when a run has ended and its slot is free; `wanted` if it is to run again."""
        if wanted or self._was_full or self._waiting:
            self._poll_soon()

    def _poll_soon(self) -> None:
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
                        self._poll_soon()
            except Exception as error:  # noqa: BLE001 - after any error, polling goes on
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
                await self._poll_for_wanted()

    async def _poll_for_wanted(self) -> None:
        now = time.monotonic()
        self._waiting = {run_id: until for run_id, until in self._waiting.items() if until > now}
        if self._full():
            self._was_full = True
            self._wait_for_a_slot(list(self._wanted))
            return
        wanted = list(self._wanted)
        try:
            taken = {str(run_id) for run_id in await self._poll()}
        except Exception as error:  # noqa: BLE001 - the regular poll reports it
            self._logger.debug("A poll for a new run failed: %s", error)
            taken = set()
        for run_id in taken:
            self._wanted.pop(run_id, None)
            self._waiting.pop(run_id, None)
        for run_id in wanted:
            if run_id in taken:
                continue
            tries = self._wanted[run_id]
            if self._was_full or tries == len(DELAYS):
                self._wait_for_a_slot([run_id])
            else:
                self._wanted[run_id] = tries + 1
                self._poll_at(time.monotonic() + DELAYS[tries])

    def _wait_for_a_slot(self, ids: Collection[str]) -> None:
        for run_id in ids:
            del self._wanted[run_id]
            self._waiting[run_id] = time.monotonic() + WAIT_SECONDS
