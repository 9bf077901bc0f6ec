"""The services that a worker has once for all runs, and Prefect's process worker for each run."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from prefect.states import Cancelled
from prefect.utilities.engine import propose_state

from prefect_prefork.runs.cancellation import Cancellations
from prefect_prefork.runs.suspension import Suspensions
from prefect_prefork.upstream import FlowRunExecutorContext

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection
    from typing import Any
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun, State

    from prefect_prefork.upstream import FlowRunExecutor, FlowRunHookRunner, ProcessStarter

READ_SECONDS = 2


class SharedServices:
    """The API client, the observers, the control channel and the event emitter of all runs.

    A single task enters and leaves their contexts, because their task groups require that.
    """

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        """Prepare the services; `start` connects them."""
        self._logger = logger
        self.suspensions = Suspensions()
        self.context = FlowRunExecutorContext()
        self._cancellations: Cancellations | None = None
        self._cancelled: dict[UUID, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    async def start(self) -> None:
        """Connect; return when runs can be executed."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(ready))
        await ready

    async def close(self) -> None:
        """End the runs that are left, and disconnect."""
        self._over.set()
        if self._task:
            await self._task

    def executor(
        self, flow_run: FlowRun, starter: ProcessStarter, hooks: FlowRunHookRunner
    ) -> FlowRunExecutor:
        """Return the executor for one run, which runs hooks by `hooks`."""
        return self.context.create_executor(
            flow_run, starter, hook_runner=hooks, propose_submitting=False
        )

    async def cancelled(self, flow_run_id: UUID) -> None:
        """Wait until a cancellation that has ended the run is reported, if there is one."""
        assert self._cancellations  # noqa: S101
        await self._cancellations.over(flow_run_id)

    def cancel_all(self, message: str, seconds: float) -> None:
        """Begin to cancel all runs; kill them after `seconds`, and report them with `message`.

        Further calls begin to cancel the runs that have started since.
        """
        if self._cancellations is None:
            return
        self._cancellations.hurry(seconds)
        new = self.context.process_manager.flow_run_ids() - self._cancelled.keys()
        for flow_run_id in new:
            self._cancelled[flow_run_id] = asyncio.create_task(
                self._cancel(self._cancellations, flow_run_id, message)
            )

    async def _cancel(self, cancellations: Cancellations, flow_run_id: UUID, message: str) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                flow_run = await self.context.client.read_flow_run(flow_run_id)
            await cancellations.cancel(flow_run, state_msg=message)
        except Exception:
            self._logger.exception("Flow run '%s' was ended without a message", flow_run_id)
            await cancellations.kill(flow_run_id)

    async def report_cancelled(self, flow_run_ids: Collection[UUID], message: str) -> None:
        """Report runs that have no process as Cancelled."""

        async def report(flow_run_id: UUID) -> None:
            state: State[Any] = Cancelled(message=message)
            await propose_state(self.context.client, state, flow_run_id=flow_run_id)

        if self._cancellations:
            await asyncio.gather(*map(report, flow_run_ids), return_exceptions=True)

    def check(self) -> None:
        """Check that the services are still running.

        Raises:
            RuntimeError: they have ended unexpectedly, and the worker cannot go on.
        """
        if self._task and self._task.done() and not self._over.is_set():
            cause = None if self._task.cancelled() else self._task.exception()
            raise RuntimeError("the services that all runs share have ended") from cause

    async def _hold(self, ready: asyncio.Future[None]) -> None:
        try:
            async with self.context, self.suspensions.observer:
                self._cancellations = Cancellations(self.context, self._logger)
                ready.set_result(None)
                await self._over.wait()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
                with contextlib.suppress(asyncio.CancelledError):
                    return
            raise
