"""Starters for Prefect's executor: they start the process of a run, by a fork or as a subprocess.

Prefect's own starters are used for the runs that cannot be forked: those with a command of their
own, or with variables that an interpreter reads when it starts.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio.abc
from prefect.logging.loggers import flow_run_logger

from prefect_prefork.common import framing
from prefect_prefork.common.messages import Brought, Learnt, Loaded, Problem
from prefect_prefork.forked import proposals
from prefect_prefork.runs.listener import Listener
from prefect_prefork.runs.process import ForkedProcess, SessionScope, handle
from prefect_prefork.upstream import EngineCommandStarter, WorkspaceResolvingEngineCommandStarter

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from prefect.client.schemas.objects import FlowRun

    from prefect_prefork.common.messages import FromRun
    from prefect_prefork.runs.hooks import ForkedHooks, KnownHooks
    from prefect_prefork.runs.job import Job
    from prefect_prefork.runs.suspension import Suspensions
    from prefect_prefork.runs.template_process import Kind
    from prefect_prefork.runs.templates import Templates
    from prefect_prefork.upstream import ControlChannel, ProcessHandle, ProcessStarter


@dataclass
class ForkStarter:
    """Forks the process of one run; has Prefect's protocol `ProcessStarter`."""

    job: Job
    kind: Kind  # of template that the job needs
    end_path: Path  # the file to which the process has to write its final state
    templates: Templates
    control: ControlChannel
    suspensions: Suspensions
    hooks: ForkedHooks
    problem: str | None = None  # why the flow could not be loaded

    async def start(
        self,
        flow_run: FlowRun,
        task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Fork the process, report it, and return when it has ended.

        Raises:
            TemplateError: a template could not fork, and neither could its replacement.
        """
        kind = self.kind
        env = {
            **kind.env,
            proposals.VARIABLE: str(self.end_path),
            "PREFECT__FLOW_RUN_ID": str(flow_run.id),
            "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false",
        }
        with contextlib.suppress(
            RuntimeError
        ):  # without a listener, a cancellation is a plain signal
            port, token = self.control.register(flow_run.id)
            env |= {"PREFECT__CONTROL_PORT": str(port), "PREFECT__CONTROL_TOKEN": token}
        ours, theirs = framing.pair()
        with ours:
            try:
                with theirs:
                    request = self.job.request(flow_run, env)
                    files = [theirs.fileno()]
                    process = ForkedProcess(await self.templates.fork(kind, request, files))
            except BaseException:
                self.control.unregister(flow_run.id)
                raise
            logger = flow_run_logger(flow_run)
            known = self.hooks.expect(flow_run.id)
            listener = Listener(ours, partial(self._receive, kind, known, logger), logger)
            try:
                self.suspensions.add(flow_run, ours)
                task_status.started(handle(process))
                if await process.wait():  # end what a crashed run has started
                    SessionScope().hard_kill(process.pid)
            except Exception:
                SessionScope().hard_kill(process.pid)  # since nobody will wait for it
                raise
            finally:
                listener.close()
                self.suspensions.remove(flow_run.id)

    def _receive(
        self,
        kind: Kind,
        known: KnownHooks,
        logger: logging.Logger | logging.LoggerAdapter[Any],
        message: FromRun,
    ) -> None:
        """Act on a message from the run."""
        match message:
            case Learnt():
                self.templates.learn(kind, message.names)
            case Brought():
                known.brought = message
            case Loaded():
                known.hooks = frozenset(message.hooks)
            case Problem():  # logged here, since logging may not work in the process of the run
                self.problem = message.message
                known.hooks = frozenset()
                logger.error("%s\n%s", message.message, message.traceback)


@dataclass(frozen=True)
class Fallback:
    """Starts runs that cannot be forked as subprocesses, by Prefect's own starters."""

    control: ControlChannel
    hooks: ForkedHooks

    @contextlib.contextmanager
    def starter(self, flow_run: FlowRun, job: Job, command: str | None) -> Iterator[ProcessStarter]:
        """Yield a starter for `job` like that of Prefect's process worker, by `command` if set."""
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
                # Prefect runs the hooks in an interpreter with the environment of the run.
                self.hooks.hand_over(flow_run.id, resolving.hook_runner)
            yield starter
