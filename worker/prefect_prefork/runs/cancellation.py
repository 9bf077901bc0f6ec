"""The cancellations of a worker: one at a time for each run, and bounded when the worker stops."""

from __future__ import annotations

import asyncio
import contextlib
import math
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, cast

from prefect.exceptions import ObjectNotFound

if TYPE_CHECKING:
    import logging
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun

    from prefect_prefork.upstream import FlowRunExecutorContext

# Between one try and the next, in seconds; the last for as long as the process lives.
TRIES = (1, 5, 15, 30)
LOOK_SECONDS = 0.2


class Cancellations:
    """Takes the place of what Prefect's context does by itself when a run is cancelled.

    Prefect's own runs in a task group of the context, where one that fails ends all others and
    every process: right for the one run that a context of Prefect's has.
    """

    def __init__(
        self,
        context: FlowRunExecutorContext,
        logger: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        """Of the runs in `context`, which has been entered."""
        self._logger = logger
        self._client = context.client
        self._processes = context.process_manager
        self._going: dict[UUID, asyncio.Event] = {}
        self._latest = math.inf  # by the clock of the loop
        manager = cast("Any", context._cancellation_manager)  # noqa: SLF001
        self._once = manager.cancel
        manager.cancel = self.cancel
        manager.cancel_by_id = self.cancel_by_id
        cast("Any", self._processes).kill = self.kill

    async def cancel_by_id(self, flow_run_id: UUID) -> None:
        """Cancel a run as a user has asked; what fails is tried again while its process lives."""
        for wait in chain(TRIES, repeat(TRIES[-1])):
            try:
                await self.cancel(await self._client.read_flow_run(flow_run_id))
            except ObjectNotFound:  # it was deleted
                await self.kill(flow_run_id)
            except Exception:
                self._logger.exception("Flow run '%s' could not be cancelled", flow_run_id)
            else:
                return
            if self._processes.get(flow_run_id) is None:
                return
            await asyncio.sleep(wait)

    async def cancel(self, flow_run: FlowRun, state_msg: str | None = None) -> None:
        """End the process, run the hooks, report the run Cancelled; wait where that goes on."""
        if flow_run.id in self._going:
            await self.over(flow_run.id)
            return
        over = self._going[flow_run.id] = asyncio.Event()
        try:
            await self._once(flow_run, state_msg=state_msg)
        finally:
            del self._going[flow_run.id]
            over.set()

    async def over(self, flow_run_id: UUID) -> None:
        """Wait for the end of the cancellation of a run, if one goes on."""
        if going := self._going.get(flow_run_id):
            await going.wait()

    def hurry(self, seconds: float) -> None:
        """Kill what has not ended in `seconds` from now, whatever it was promised."""
        self._latest = min(self._latest, asyncio.get_running_loop().time() + seconds)

    async def kill(
        self,
        flow_run_id: UUID,
        grace_seconds: float = 30,
        *,
        force: bool = False,
    ) -> None:
        """Ask the process of a run to end, and end it when it has not in time."""
        handle = self._processes.get(flow_run_id)
        if handle is None or handle.pid is None:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + grace_seconds
        with contextlib.suppress(ProcessLookupError):
            if not force:
                handle.graceful_kill()
                while handle.is_alive():
                    if loop.time() >= min(end, self._latest):
                        break
                    await asyncio.sleep(LOOK_SECONDS)
                else:
                    return
            handle.hard_kill()
