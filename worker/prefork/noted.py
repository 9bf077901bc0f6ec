"""Notes on disk which process a run is, and in memory what that came to, whoever starts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc

from worker.prefork.upstream import ProcessHandle, handle

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

    from worker.prefork.journal import Journal
    from worker.prefork.reporting import Attempt
    from worker.prefork.upstream import ProcessStarter


class NotedStarter:
    """Prefect's protocol `ProcessStarter`: another one, whose process is noted before all else."""

    def __init__(self, starter: ProcessStarter, journal: Journal, attempt: Attempt) -> None:
        """Of `starter`, which gives the process a session of its own."""
        self._starter = starter
        self._journal = journal
        self._attempt = attempt

    async def start(
        self,
        flow_run: FlowRun,
        task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Start, report the process, return when it has ended."""
        try:
            await self._starter.start(flow_run, _Noted(task_status, self._journal, self._attempt))
        except Exception as error:
            self._attempt.error = error
            raise
        finally:
            self._attempt.problem = getattr(self._starter, "problem", None)


class _Noted(anyio.abc.TaskStatus[ProcessHandle]):
    """Notes the process before it is reported, and has it ended with all of its session."""

    def __init__(
        self,
        task_status: anyio.abc.TaskStatus[ProcessHandle],
        journal: Journal,
        attempt: Attempt,
    ) -> None:
        self._task_status = task_status
        self._journal = journal
        self._attempt = attempt

    def started(self, value: Any = None) -> None:
        self._journal.start(self._attempt.flow_run_id, value.pid)
        self._attempt.handle = handle(value.raw_process)
        self._task_status.started(self._attempt.handle)
