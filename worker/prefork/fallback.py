"""Runs that no fork can give what they ask for: Prefect's own starters, among the worker's runs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc

from worker.prefork.process import SessionScope
from worker.prefork.upstream import (
    ControlChannel,
    EngineCommandStarter,
    ProcessHandle,
    WorkspaceResolvingEngineCommandStarter,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun

    from worker.prefork.hooks import ForkedHooks
    from worker.prefork.journal import Journal
    from worker.prefork.starter import Job
    from worker.prefork.upstream import ProcessStarter


@dataclass(frozen=True)
class Fallback:
    """Prefect's own means, with what all runs of the worker share."""

    control: ControlChannel
    hooks: ForkedHooks
    journal: Journal

    @contextlib.contextmanager
    def starter(self, flow_run: FlowRun, job: Job, command: str | None) -> Iterator[ProcessStarter]:
        """What starts `job` as Prefect's process worker does, with `command` where it has one."""
        directory = job.working_dir.resolve()
        with contextlib.ExitStack() as stack:
            stack.callback(self.hooks.remove, flow_run.id)
            if command:
                self.hooks.add(flow_run.id, job)
                starter: ProcessStarter = EngineCommandStarter(
                    command=command,
                    cwd=directory,
                    env=dict(job.env),
                    stream_output=job.stream_output,
                    control_channel=self.control,
                    isolate_process_group=True,
                )
            else:
                starter = resolving = WorkspaceResolvingEngineCommandStarter(
                    workspace_root=directory,
                    stream_output=job.stream_output,
                    control_channel=self.control,
                    source_cwd=directory,
                    environment=job.env,
                )
                stack.callback(resolving.close)
                # In an interpreter that has the environment.
                self.hooks.hand_over(flow_run.id, resolving.hook_runner)
            yield SubprocessStarter(starter, self.journal)


class SubprocessStarter:
    """Prefect's protocol `ProcessStarter`: one of Prefect's, whose process is noted on disk."""

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
        self._task_status.started(
            ProcessHandle(value.raw_process, termination_scope=SessionScope())
        )
