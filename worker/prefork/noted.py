"""Notes on disk which process a run is, whoever has started it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc

from worker.prefork.upstream import ProcessHandle, handle

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun

    from worker.prefork.journal import Journal
    from worker.prefork.upstream import ProcessStarter


class NotedStarter:
    """Prefect's protocol `ProcessStarter`: another one, whose process is noted before all else."""

    def __init__(self, starter: ProcessStarter, journal: Journal) -> None:
        """Of `starter`, which gives the process a session of its own."""
        self._starter = starter
        self._journal = journal

    async def start(
        self,
        flow_run: FlowRun,
        task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Start, report the process, return when it has ended."""
        await self._starter.start(flow_run, _Noted(task_status, self._journal, flow_run.id))


class _Noted(anyio.abc.TaskStatus[ProcessHandle]):
    """Notes the process before it is reported, and has it ended with all of its session."""

    def __init__(
        self,
        task_status: anyio.abc.TaskStatus[ProcessHandle],
        journal: Journal,
        flow_run_id: UUID,
    ) -> None:
        self._task_status = task_status
        self._journal = journal
        self._flow_run_id = flow_run_id

    def started(self, value: Any = None) -> None:
        self._journal.add(self._flow_run_id, value.pid)
        self._task_status.started(handle(value.raw_process))
