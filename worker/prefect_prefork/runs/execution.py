"""Takes a run from its start to its end, in a fork or, if that is not possible, in a subprocess."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import anyio
import anyio.abc
from prefect.workers.process import ProcessWorkerResult

from prefect_prefork.common import prefect_settings
from prefect_prefork.recovery.reporting import Attempt
from prefect_prefork.runs.process import OnStarted, handle
from prefect_prefork.runs.starters import Fallback, ForkStarter
from prefect_prefork.runs.template_process import TemplateError
from prefect_prefork.upstream import ProcessHandle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from prefect.client.schemas.objects import FlowRun

    from prefect_prefork.recovery.journal import Journal
    from prefect_prefork.recovery.reporting import Proposer, Reporter
    from prefect_prefork.runs.hooks import ForkedHooks
    from prefect_prefork.runs.job import Job, PreforkJobConfiguration
    from prefect_prefork.runs.shared_services import SharedServices
    from prefect_prefork.runs.template_process import Kind
    from prefect_prefork.runs.templates import Templates
    from prefect_prefork.upstream import ProcessStarter

API_URL = "PREFECT_API_URL"
NOT_STARTED = ProcessWorkerResult(status_code=1, identifier="")


@dataclass(frozen=True)
class Execution:
    """Executes the runs of one worker, with the services that they share."""

    shared: SharedServices
    templates: Templates
    hooks: ForkedHooks
    journal: Journal
    reporter: Reporter
    proposer: Proposer
    result_storage: Callable[[], Awaitable[Mapping[str, str | None] | None]]
    log_once: Callable[[str], None]

    async def run(
        self,
        flow_run: FlowRun,
        configuration: PreforkJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Run `flow_run` to its end.

        Raises:
            FileNotFoundError: its working directory does not exist.
            StoppedError: the worker stops before the server has accepted the end of the run.
        """
        directory = configuration.working_dir
        if directory and not directory.is_dir():
            raise FileNotFoundError(f"there is no working directory {directory}")
        with contextlib.ExitStack() as stack:
            if directory is None:
                name = stack.enter_context(tempfile.TemporaryDirectory(suffix="prefect"))
                directory = Path(name)
            job = configuration.job(configuration.deployment, directory)
            kind = job.kind()
            if problem := configuration.why_no_fork() or await self._why_no_template(kind):
                self.log_once(f"Starting a run as a subprocess: {problem}.")
                fallback = Fallback(self.shared.context.control_channel, self.hooks)
                starting = fallback.starter(flow_run, job, configuration.own_command)
            else:
                own = prefect_settings.environment()
                if job.env.get(API_URL) == own.get(API_URL):  # the run uses the same server
                    job = replace(job, result_storage=await self.result_storage())
                starting = self._fork(flow_run, job, kind)
            attempt = Attempt(flow_run.id)
            self.proposer.watch(attempt)
            stack.callback(self.proposer.forget, flow_run.id)
            starter = RecordingStarter(stack.enter_context(starting), self.journal, attempt)
            return await self._follow(flow_run, starter, task_status)

    async def _why_no_template(self, kind: Kind) -> str | None:
        """Return why there is no template to fork from; None if there is one."""
        try:
            await self.templates.warm(kind)
        except TemplateError as error:
            return str(error)
        return None

    @contextlib.contextmanager
    def _fork(self, flow_run: FlowRun, job: Job, kind: Kind) -> Iterator[ProcessStarter]:
        self.hooks.add(flow_run.id, job)
        try:
            yield ForkStarter(
                job,
                kind,
                end_path=self.journal.end_path(flow_run.id),
                templates=self.templates,
                control=self.shared.context.control_channel,
                suspensions=self.shared.suspensions,
                hooks=self.hooks,
            )
        finally:
            self.hooks.remove(flow_run.id)

    async def _follow(
        self,
        flow_run: FlowRun,
        starter: ProcessStarter,
        task_status: anyio.abc.TaskStatus[int] | None,
    ) -> ProcessWorkerResult:
        def report_pid(process: ProcessHandle) -> None:
            if task_status and process.pid:
                task_status.started(process.pid)

        executor = self.shared.executor(flow_run, starter, self.hooks)
        result = await executor.submit(task_status=OnStarted[ProcessHandle](report_pid))
        await self.shared.cancelled(flow_run.id)  # the run lasts until its hooks have ended
        entry = self.journal.entry(flow_run.id)
        if end := entry.end:  # the process could not report its final state
            await self.reporter.end(entry, end)
        if result is None or result.status_code is None:
            return NOT_STARTED  # the executor has reported it
        if result.status_code == 0:
            self.reporter.begun(flow_run.id)
        return ProcessWorkerResult(
            status_code=result.status_code, identifier=str(result.handle.pid)
        )


class RecordingStarter:
    """Records a run's process on disk as soon as another starter has launched it.

    It has Prefect's protocol `ProcessStarter`.
    """

    def __init__(self, starter: ProcessStarter, journal: Journal, attempt: Attempt) -> None:
        """Wrap `starter`, which has to start the process in a session of its own."""
        self._starter = starter
        self._journal = journal
        self._attempt = attempt

    async def start(
        self,
        flow_run: FlowRun,
        task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Start the process, record and report it, and return when it has ended."""

        def record(process: ProcessHandle) -> None:
            self._journal.start(self._attempt.flow_run_id, cast("int", process.pid))
            self._attempt.handle = handle(process.raw_process)
            task_status.started(self._attempt.handle)

        try:
            await self._starter.start(flow_run, OnStarted[ProcessHandle](record))
        except Exception as error:
            self._attempt.error = error
            raise
        finally:
            self._attempt.problem = getattr(self._starter, "problem", None)
