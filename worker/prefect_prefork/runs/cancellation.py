"""Cancels runs: each run at most once at a time, and in bounded time during a shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import math
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from prefect.exceptions import ObjectNotFound

from prefect_prefork import upstream

if TYPE_CHECKING:
    import logging
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun

    from prefect_prefork.upstream import FlowRunExecutorContext

# Seconds between two attempts; the last is repeated for as long as the process lives.
RETRY_SECONDS = (1, 5, 15, 30)
CHECK_SECONDS = 0.2


class Cancellations:
    """Replaces the way in which Prefect's executor context cancels runs.

    Prefect cancels in a task group of the context, where a failure ends all other cancellations and
    all processes. That only suits Prefect's own contexts, which have a single run each.
    """

    def __init__(
        self,
        context: FlowRunExecutorContext,
        logger: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        """Take over the cancellations of `context`, which has been entered."""
        self._logger = logger
        self._client = context.client
        self._processes = context.process_manager
        self._going: dict[UUID, asyncio.Event] = {}
        self._latest = math.inf  # by the clock of the loop
        self._cancel_once = upstream.replace_cancellation(
            context, self.cancel, self.cancel_by_id, self.kill
        )

    async def cancel_by_id(self, flow_run_id: UUID) -> None:
        """Cancel a run at the request of a user; retry while its process lives."""
        for wait in chain(RETRY_SECONDS, repeat(RETRY_SECONDS[-1])):
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
        """End the process, run its hooks, report the run; or wait if that is already going on."""
        if flow_run.id in self._going:
            await self.over(flow_run.id)
            return
        over = self._going[flow_run.id] = asyncio.Event()
        try:
            await self._cancel_once(flow_run, state_msg=state_msg)
        finally:
            del self._going[flow_run.id]
            over.set()

    async def over(self, flow_run_id: UUID) -> None:
        """Wait until no cancellation of the run is in progress."""
        if going := self._going.get(flow_run_id):
            await going.wait()

    def hurry(self, seconds: float) -> None:
        """Kill processes that have not ended in `seconds` from now, despite their grace period."""
        self._latest = min(self._latest, asyncio.get_running_loop().time() + seconds)

    async def kill(
        self,
        flow_run_id: UUID,
        grace_seconds: float = 30,
        *,
        force: bool = False,
    ) -> None:
        """Ask the process of a run to end; kill it if it does not end in time."""
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
                    await asyncio.sleep(CHECK_SECONDS)
                else:
                    return
            handle.hard_kill()
