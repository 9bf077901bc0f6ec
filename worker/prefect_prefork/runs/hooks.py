"""Runs the hooks that are the task of the worker: those of cancelled and crashed runs."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prefect.logging.loggers import flow_run_logger

from prefect_prefork.common import framing
from prefect_prefork.common.messages import Problem
from prefect_prefork.runs.listener import Listener
from prefect_prefork.runs.process import ForkedProcess, SessionScope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun, State

    from prefect_prefork.common.messages import Brought, FromRun, HookKind, Request
    from prefect_prefork.runs.job import Job
    from prefect_prefork.runs.template_process import Kind
    from prefect_prefork.runs.templates import Templates
    from prefect_prefork.upstream import FlowRunHookRunner


@dataclass
class KnownHooks:
    """What the process of a run has reported so far about the hooks of its flow.

    As with Prefect's own workers, no hooks run if the pull steps have not ended, or if the flow
    could not be loaded. Until the flow is loaded, it is assumed to have hooks of every kind.
    """

    brought: Brought | None = None
    hooks: frozenset[HookKind] = frozenset({"cancellation", "crashed"})


class ForkedHooks:
    """Runs hooks in a fork, since the worker imports no flow; Prefect's `FlowRunHookRunner`.

    As with Prefect's own workers, a hook may take as long as it needs, until the worker stops.
    """

    def __init__(self, templates: Templates) -> None:
        self._templates = templates
        self._jobs: dict[UUID, Job] = {}
        self._others: dict[UUID, FlowRunHookRunner] = {}
        self._known: dict[UUID, KnownHooks] = {}
        self._latest: float | None = None  # by the clock of the loop
        self._limits: set[asyncio.Timeout] = set()

    def add(self, flow_run_id: UUID, job: Job) -> None:
        """Run the hooks of this run in a process for `job`."""
        self._jobs[flow_run_id] = job

    def expect(self, flow_run_id: UUID) -> KnownHooks:
        """Run only those hooks that the returned object names, which the caller updates."""
        known = self._known[flow_run_id] = KnownHooks()
        return known

    def hand_over(self, flow_run_id: UUID, runner: FlowRunHookRunner) -> None:
        """Leave the hooks of this run to `runner`."""
        self._others[flow_run_id] = runner

    def remove(self, flow_run_id: UUID) -> None:
        """Forget a run whose hooks have run."""
        self._jobs.pop(flow_run_id, None)
        self._others.pop(flow_run_id, None)
        self._known.pop(flow_run_id, None)

    def hurry(self, seconds: float) -> None:
        """End the hooks that have not ended within `seconds` from now."""
        if self._latest is None:
            self._latest = asyncio.get_running_loop().time() + seconds
            for limit in self._limits:
                if not limit.expired():
                    limit.reschedule(self._latest)

    async def run_cancellation_hooks(self, flow_run: FlowRun, state: State) -> None:
        """Run the `on_cancellation` hooks; errors go to the log of the run."""
        if state.is_cancelling():
            await self._run("cancellation", flow_run, state)

    async def run_crashed_hooks(self, flow_run: FlowRun, state: State) -> None:
        """Run the `on_crashed` hooks; errors go to the log of the run."""
        if state.is_crashed():
            await self._run("crashed", flow_run, state)

    async def _run(self, kind: HookKind, flow_run: FlowRun, state: State) -> None:
        known = self._known.get(flow_run.id)
        if known and (known.brought is None or kind not in known.hooks):
            return  # as far as anybody can tell, there are no such hooks
        try:
            async with self._time_limit():
                if other := self._others.get(flow_run.id):
                    await getattr(other, f"run_{kind}_hooks")(flow_run, state)
                else:
                    await self._run_in_fork(kind, flow_run, state, known)
        except Exception:  # noqa: BLE001 - hooks must not make a run fail
            flow_run_logger(flow_run).warning(
                "The on_%s hooks of flow run %r could not be run.", kind, flow_run.id, exc_info=True
            )

    @contextlib.asynccontextmanager
    async def _time_limit(self) -> AsyncIterator[None]:
        async with asyncio.timeout_at(self._latest) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.remove(limit)

    async def _run_in_fork(
        self, kind: HookKind, flow_run: FlowRun, state: State, known: KnownHooks | None
    ) -> None:
        brought = known.brought.model_dump() if known and known.brought else None
        with tempfile.TemporaryDirectory(suffix="prefect") as empty:
            job = self._jobs[flow_run.id]
            if not job.working_dir.is_dir():  # it was temporary, and was removed with the run
                job = replace(job, working_dir=Path(empty))
            template_kind = job.kind()
            request = replace(
                job.request(flow_run, template_kind.env),
                hooks=kind,
                state=state.model_dump(mode="json"),
                brought=brought,
            )
            await self._fork(template_kind, request, flow_run)

    async def _fork(self, kind: Kind, request: Request, flow_run: FlowRun) -> None:
        ours, theirs = framing.pair()
        with ours, theirs:
            process = ForkedProcess(await self._templates.fork(kind, request, [theirs.fileno()]))
            problem: list[str] = []

            def receive(message: FromRun) -> None:
                if isinstance(message, Problem):
                    problem.append(message.message)

            listener = Listener(ours, receive, flow_run_logger(flow_run))
            try:
                code = await process.wait()
            finally:
                listener.close()
                if process.returncode is None:
                    SessionScope().hard_kill(process.pid)
        if code:
            raise RuntimeError(*problem or [f"the process of the hooks ended with {code}"])
