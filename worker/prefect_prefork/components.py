"""The parts of a worker that take, execute and report its runs, from its setup to its teardown."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING, Any

from prefect_prefork import shutdown
from prefect_prefork.pickup.cached_reads import ResultStorage
from prefect_prefork.pickup.intake import Intake
from prefect_prefork.recovery import crash_recovery
from prefect_prefork.recovery.reporting import Proposer, Reporter
from prefect_prefork.runs.execution import Execution
from prefect_prefork.runs.hooks import ForkedHooks
from prefect_prefork.runs.shared_services import SharedServices
from prefect_prefork.runs.templates import Templates
from prefect_prefork.upstream import report_by

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable

    from prefect.client.schemas.objects import FlowRun

    from prefect_prefork.recovery.journal import Journal


class Components:
    """Wires the parts together, and closes them in order."""

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        """Prepare what needs no connection; `open` makes the rest. `logger` is the worker's."""
        self._logger = logger
        self.shared = SharedServices(logger)
        self.templates = Templates(logger)
        self.hooks = ForkedHooks(self.templates)
        self.journal: Journal | None = None
        self.intake: Intake | None = None
        self.execution: Execution | None = None
        self._reporter: Reporter | None = None
        self._settling: asyncio.Task[None] | None = None

    async def open(
        self,
        journal: Journal,
        worker_name: str,
        report_cancelled: Callable[[FlowRun, dict[str, Any]], Awaitable[None]],
        log_once: Callable[[str], None],
    ) -> None:
        """Connect to the server, and begin to report the runs that a dead worker has left.

        Args:
            journal: closed by `close`, even if this fails.
            worker_name: the name by which the server knows the worker.
            report_cancelled: reports a run as Cancelled, with updates of the state.
            log_once: writes a line to the worker's log, unless it stands there already.
        """
        self.journal = journal
        await self.shared.start()
        client = self.shared.context.client
        reporter = self._reporter = Reporter(client, worker_name, self._logger)
        proposer = Proposer(client, reporter, journal)
        report_by(self.shared.context, proposer)
        storage = ResultStorage()
        self.intake = Intake(client, journal, reporter, storage, report_cancelled)
        self.execution = Execution(
            *(self.shared, self.templates, self.hooks, journal, reporter, proposer),
            functools.partial(storage.read, client),
            log_once,
        )
        settling = crash_recovery.settle(journal, client, reporter, self._logger)
        self._settling = asyncio.create_task(settling)

    def check(self) -> None:
        """Check that the services which all runs share are still running, after `open`.

        Raises:
            RuntimeError: they have ended unexpectedly, and the worker cannot go on.
        """
        if self.journal:
            self.shared.check()

    def stop_reporting(self) -> None:
        """Stop waiting for the server to accept the ends of runs; the next start reports them."""
        if self._reporter:
            self._reporter.stop()

    def cancel_all(self) -> None:
        """Begin to cancel all runs because the worker stops."""
        self.stop_reporting()
        self.shared.cancel_all(shutdown.MESSAGE, shutdown.END_SECONDS)
        self.hooks.hurry(shutdown.END_SECONDS + shutdown.HOOKS_SECONDS)

    async def close(
        self, close_part: Callable[[Callable[[], Awaitable[object]]], Awaitable[None]]
    ) -> None:
        """Close every part by `close_part`, the last one first, even if one of them fails."""
        async with contextlib.AsyncExitStack() as parts:
            if self.journal:
                parts.callback(self.journal.close)
            if self._settling:
                settled = functools.partial(asyncio.wait, [self._settling])
                parts.push_async_callback(close_part, settled)
            parts.push_async_callback(close_part, self.templates.close)
            parts.push_async_callback(close_part, self.shared.close)
