"""Runs that no fork can give what they ask for: Prefect's own starters, among the worker's runs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.prefork.upstream import (
    ControlChannel,
    EngineCommandStarter,
    WorkspaceResolvingEngineCommandStarter,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.schemas.objects import FlowRun

    from worker.prefork.hooks import ForkedHooks
    from worker.prefork.starter import Job
    from worker.prefork.upstream import ProcessStarter


@dataclass(frozen=True)
class Fallback:
    """Prefect's own means, with what all runs of the worker share."""

    control: ControlChannel
    hooks: ForkedHooks

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
            yield starter
