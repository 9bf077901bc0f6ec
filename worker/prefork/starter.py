"""Starts a run by a fork, in the way in which Prefect's executor wants a process started."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.abc
from prefect.logging.loggers import flow_run_logger
from prefect.utilities.processutils import sanitize_subprocess_env

from worker.prefork import settled, wire
from worker.prefork.hearing import Hearing
from worker.prefork.messages import Brought, Learnt, Loaded, Problem, Request
from worker.prefork.process import ForkedProcess, SessionScope
from worker.prefork.templates import Kind, Templates
from worker.prefork.upstream import ControlChannel, ProcessHandle, handle

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import DeploymentResponse

    from worker.prefork.hooks import ForkedHooks, Told
    from worker.prefork.lines import Lines
    from worker.prefork.messages import FromRun


@dataclass(frozen=True)
class Job:
    """All that a run's process is told."""

    deployment: DeploymentResponse | None  # None where only a template is wanted
    env: Mapping[str, str | None]
    working_dir: Path
    temporary: bool  # whether that is gone when the run has ended
    preload: Sequence[str]
    stream_output: bool
    result_storage: Mapping[str, str | None] | None = None  # where results go by default, if known

    def environment(self) -> dict[str, str]:
        """The environment of the run: the worker's, its settings, and the run's own on top."""
        return sanitize_subprocess_env({**os.environ, **settled.environment(), **self.env})

    def kind(self) -> Kind:
        """What it has to have in common with its template."""
        directory = "/" if self.temporary else str(self.working_dir)
        return Kind(self.environment(), self.preload, directory)

    def request(self, flow_run: FlowRun, env: Mapping[str, str], **more: Any) -> Request:
        """The message to the template."""
        return Request(
            env=dict(env),
            cwd=os.path.realpath(self.working_dir),
            stream_output=self.stream_output,
            flow_run=flow_run.model_dump(mode="json"),
            deployment=self.deployment.model_dump(mode="json") if self.deployment else None,
            result_storage=self.result_storage,
            **more,
        )


class ForkStarter:
    """Prefect's protocol `ProcessStarter`, for one run."""

    def __init__(
        self,
        job: Job,
        templates: Templates,
        control: ControlChannel,
        lines: Lines,
        hooks: ForkedHooks,
    ) -> None:
        """Of `job`, with what all runs of the worker share."""
        self._job = job
        self._templates = templates
        self._control = control
        self._lines = lines
        self._hooks = hooks
        self.problem: str | None = None  # why the flow could not be loaded, when that was so

    async def start(
        self,
        flow_run: FlowRun,
        task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Fork, report the process, return when it has ended.

        Raises:
            TemplateError: two templates, one after the other, could not fork.
        """
        kind = self._job.kind()
        env = {
            **kind.env,
            "PREFECT__FLOW_RUN_ID": str(flow_run.id),
            "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false",
        }
        with contextlib.suppress(RuntimeError):  # no listener: a cancellation is a plain kill
            port, token = self._control.register(flow_run.id)
            env |= {"PREFECT__CONTROL_PORT": str(port), "PREFECT__CONTROL_TOKEN": token}
        ours, theirs = wire.pair()
        with ours:
            try:
                with theirs:
                    request = self._job.request(flow_run, env)
                    files = [theirs.fileno()]
                    process = ForkedProcess(await self._templates.fork(kind, request, files))
            except BaseException:
                self._control.unregister(flow_run.id)
                raise
            logger = flow_run_logger(flow_run)
            told = self._hooks.expect(flow_run.id)
            hearing = Hearing(ours, partial(self._hear, kind, told, logger), logger)
            try:
                self._lines.add(flow_run, ours)
                task_status.started(handle(process))
                if await process.wait():  # what it has started is nobody's now
                    SessionScope().hard_kill(process.pid)
            except Exception:
                SessionScope().hard_kill(process.pid)  # nobody will wait for it any more
                raise
            finally:
                hearing.close()
                self._lines.remove(flow_run.id)

    def _hear(
        self,
        kind: Kind,
        told: Told,
        logger: logging.Logger | logging.LoggerAdapter[Any],
        said: FromRun,
    ) -> None:
        """Take what the run says of itself."""
        match said:
            case Learnt():
                self._templates.learn(kind, said.names)
            case Brought():
                told.brought = said
            case Loaded():
                told.hooks = frozenset(said.hooks)
            case Problem():  # in whose process no log may work
                self.problem = said.message
                told.hooks = frozenset()
                logger.error("%s\n%s", said.message, said.traceback)
