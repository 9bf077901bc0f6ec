"""What a worker has once for all its runs, where Prefect's process worker makes it for each."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from worker.prefork.guard import guard_cancelling
from worker.prefork.lines import Lines
from worker.prefork.upstream import FlowRunExecutorContext

if TYPE_CHECKING:
    import logging
    from typing import Any
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun

    from worker.prefork.upstream import FlowRunExecutor, FlowRunHookRunner, ProcessStarter


class Shared:
    """The client, the observers of cancellation and suspension, control channel and event emitter.

    They are entered and left by one task of their own, since their task groups ask for that.
    """

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        """Of nothing yet: `start` makes them."""
        self._logger = logger
        self.lines = Lines()
        self.context = FlowRunExecutorContext()
        self._task: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    async def start(self) -> None:
        """Connect; returns when runs can be executed."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(ready))
        await ready

    async def close(self) -> None:
        """End what runs still, and disconnect."""
        self._over.set()
        if self._task:
            await self._task

    def executor(
        self, flow_run: FlowRun, starter: ProcessStarter, hooks: FlowRunHookRunner
    ) -> FlowRunExecutor:
        """What takes one run from its start to its end."""
        return self.context.create_executor(
            flow_run, starter, hook_runner=hooks, propose_submitting=False
        )

    async def cancel_all(self, message: str) -> None:
        """Cancel what runs, all at once; each ends as Cancelled with `message`."""
        manager = self.context._cancellation_manager  # noqa: SLF001

        async def cancel(flow_run_id: UUID) -> None:
            try:
                flow_run = await self.context.client.read_flow_run(flow_run_id)
                await manager.cancel(flow_run, state_msg=message)
            except Exception:
                self._logger.exception("Flow run '%s' was ended without a message", flow_run_id)
                await self.context.process_manager.kill(flow_run_id)

        await asyncio.gather(*map(cancel, self.context.process_manager.flow_run_ids()))

    def check(self) -> None:
        """See that all is as `start` has left it.

        Raises:
            RuntimeError: it has ended by itself; the worker is of no use any more.
        """
        if self._task and self._task.done() and not self._over.is_set():
            cause = None if self._task.cancelled() else self._task.exception()
            raise RuntimeError("what all runs share has ended") from cause

    async def _hold(self, ready: asyncio.Future[None]) -> None:
        try:
            async with self.context, self.lines.observer:
                guard_cancelling(self.context, self._logger)
                ready.set_result(None)
                await self._over.wait()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
                with contextlib.suppress(asyncio.CancelledError):
                    return
            raise
