"""Takes a run from its start to its end: in a fork, in a subprocess where that cannot be."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.abc
from prefect.workers.process import ProcessWorkerResult

from worker.prefork import ending, settled
from worker.prefork.fallback import Fallback
from worker.prefork.noted import NotedStarter
from worker.prefork.reporting import Attempt
from worker.prefork.starter import ForkStarter
from worker.prefork.templates import TemplateError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from prefect.client.schemas.objects import FlowRun

    from worker.prefork.configuration import PreforkJobConfiguration
    from worker.prefork.hooks import ForkedHooks
    from worker.prefork.journal import Journal
    from worker.prefork.reporting import Proposer, Reporter
    from worker.prefork.shared import Shared
    from worker.prefork.starter import Job
    from worker.prefork.templates import Templates
    from worker.prefork.upstream import ProcessHandle, ProcessStarter

API_URL = "PREFECT_API_URL"
NOT_STARTED = ProcessWorkerResult(status_code=1, identifier="")


@dataclass(frozen=True)
class Executing:
    """Runs of one worker, with what they share."""

    shared: Shared
    templates: Templates
    hooks: ForkedHooks
    journal: Journal
    reporter: Reporter
    proposer: Proposer
    result_storage: Callable[[], Awaitable[Mapping[str, str | None] | None]]
    say_once: Callable[[str], None]

    async def run(
        self,
        flow_run: FlowRun,
        configuration: PreforkJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Run `flow_run` to its end.

        Raises:
            FileNotFoundError: its working directory is not there.
            StoppedError: the worker stops before the server has taken the run's end.
        """
        directory = configuration.working_dir
        if directory and not directory.is_dir():
            raise FileNotFoundError(f"there is no working directory {directory}")
        with contextlib.ExitStack() as stack:
            if directory is None:
                name = stack.enter_context(tempfile.TemporaryDirectory(suffix="prefect"))
                directory = Path(name)
            job = configuration.job(configuration.deployment, directory)
            if problem := configuration.why_no_fork() or await self._why_no_template(job):
                self.say_once(f"Starting a run as a subprocess: {problem}.")
                fallback = Fallback(self.shared.context.control_channel, self.hooks)
                made = fallback.starter(flow_run, job, configuration.own_command)
            else:
                if job.env.get(API_URL) == settled.environment().get(API_URL):  # the same server
                    job = replace(job, result_storage=await self.result_storage())
                made = self._fork(flow_run, job)
            attempt = Attempt(flow_run.id)
            self.proposer.watch(attempt)
            stack.callback(self.proposer.forget, flow_run.id)
            starter = NotedStarter(stack.enter_context(made), self.journal, attempt)
            return await self._follow(flow_run, starter, task_status)

    async def _why_no_template(self, job: Job) -> str | None:
        """Why there is none to fork from; None when there is."""
        try:
            await self.templates.warm(job.kind())
        except TemplateError as error:
            return str(error)
        return None

    @contextlib.contextmanager
    def _fork(self, flow_run: FlowRun, job: Job) -> Iterator[ProcessStarter]:
        end = {ending.VARIABLE: str(self.journal.end_path(flow_run.id))}
        job = replace(job, env={**job.env, **end})
        self.hooks.add(flow_run.id, job)
        try:
            control = self.shared.context.control_channel
            yield ForkStarter(job, self.templates, control, self.shared.lines, self.hooks)
        finally:
            self.hooks.remove(flow_run.id)

    async def _follow(
        self,
        flow_run: FlowRun,
        starter: ProcessStarter,
        task_status: anyio.abc.TaskStatus[int] | None,
    ) -> ProcessWorkerResult:
        executor = self.shared.executor(flow_run, starter, self.hooks)
        result = await executor.submit(task_status=_Started(task_status))
        await self.shared.cancelled(flow_run.id)  # its hooks are the run's too
        entry = self.journal.entry(flow_run.id)
        if end := entry.end:  # the process could not report it
            await self.reporter.end(entry, end)
        if result is None or result.status_code is None:
            return NOT_STARTED  # the executor has reported that
        if result.status_code == 0:
            self.reporter.begun(flow_run.id)
        return ProcessWorkerResult(
            status_code=result.status_code, identifier=str(result.handle.pid)
        )


class _Started(anyio.abc.TaskStatus["ProcessHandle"]):
    """Passes on which process has started."""

    def __init__(self, task_status: anyio.abc.TaskStatus[int] | None) -> None:
        self._task_status = task_status

    def started(self, value: ProcessHandle | None = None) -> None:
        if self._task_status and value and value.pid:
            self._task_status.started(value.pid)
