"""What a worker has once for all its runs, and Prefect's process worker once for each."""

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
    """The client, the observers of cancellation and suspension, control channel and event emitter.

    One task enters and leaves them all, because their task groups require that.
    """

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        """Prepare; `start` connects."""
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
        """Return what takes one run from its start to its end, with `hooks` of all runs."""
        return self.context.create_executor(
            flow_run, starter, hook_runner=hooks, propose_submitting=False
        )

    async def cancelled(self, flow_run_id: UUID) -> None:
        """If the process of the run was ended by a cancellation, wait until that is reported."""
        assert self._cancellations  # noqa: S101
        await self._cancellations.over(flow_run_id)

    def cancel_all(self, message: str, seconds: float) -> None:
        """Begin to cancel all runs; kill them after `seconds`, report them with `message`.

        Called again, it begins to cancel the runs that have started since.
        """
        if self._cancellations is None:
            return
        self._cancellations.hurry(seconds)
        for each in self.context.process_manager.flow_run_ids() - self._cancelled.keys():
            self._cancelled[each] = asyncio.create_task(
                self._cancel(self._cancellations, each, message)
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
        """Report runs without a process as Cancelled."""

        async def report(flow_run_id: UUID) -> None:
            state: State[Any] = Cancelled(message=message)
            await propose_state(self.context.client, state, flow_run_id=flow_run_id)

        if self._cancellations:
            await asyncio.gather(*map(report, flow_run_ids), return_exceptions=True)

    def check(self) -> None:
        """Check that the services are still there.

        Raises:
            RuntimeError: they have ended by themselves; the worker is of no use any more.
        """
        if self._task and self._task.done() and not self._over.is_set():
            cause = None if self._task.cancelled() else self._task.exception()
            raise RuntimeError("what all runs share has ended") from cause

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
