"""Runs the hooks that are the worker's task: those of runs that were cancelled or have crashed."""

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
from prefect_prefork.runs.listening import Listener
from prefect_prefork.runs.process import ForkedProcess, SessionScope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun, State

    from prefect_prefork.common.messages import Brought, FromRun, HookKind, Request
    from prefect_prefork.runs.job import Job
    from prefect_prefork.runs.templates import Kind, Templates
    from prefect_prefork.upstream import FlowRunHookRunner


@dataclass
class KnownHooks:
    """What the process of a run has said so far about the hooks of its flow.

    As with Prefect's own workers, no hooks run if the pull steps had not ended, or if the flow
    could not be loaded. While the flow is being loaded it may have any hooks.
    """

    brought: Brought | None = None
    hooks: frozenset[HookKind] = frozenset({"cancellation", "crashed"})


class ForkedHooks:
    """Prefect's protocol `FlowRunHookRunner`, in a fork: the worker imports no flow.

    A hook may take as long as it needs, as with Prefect's own workers, until the worker stops.
    """

    def __init__(self, templates: Templates) -> None:
        """Fork from `templates`."""
        self._templates = templates
        self._jobs: dict[UUID, Job] = {}
        self._others: dict[UUID, FlowRunHookRunner] = {}
        self._known: dict[UUID, KnownHooks] = {}
        self._latest: float | None = None  # by the clock of the loop
        self._limits: set[asyncio.Timeout] = set()

    def add(self, flow_run_id: UUID, job: Job) -> None:
        """Run the hooks of a run in a process for `job`."""
        self._jobs[flow_run_id] = job

    def expect(self, flow_run_id: UUID) -> KnownHooks:
        """Run only the hooks that the returned object names; the caller keeps it up to date."""
        known = self._known[flow_run_id] = KnownHooks()
        return known

    def hand_over(self, flow_run_id: UUID, runner: FlowRunHookRunner) -> None:
        """Leave the hooks of a run to `runner`."""
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
            return  # there are no such hooks, as far as anybody can tell
        try:
            async with self._bound():
                if other := self._others.get(flow_run.id):
                    await getattr(other, f"run_{kind}_hooks")(flow_run, state)
                else:
                    await self._run_in_fork(kind, flow_run, state, known)
        except Exception:  # noqa: BLE001 - a run does not fail because of its hooks
            flow_run_logger(flow_run).warning(
                "The on_%s hooks of flow run %r could not be run.", kind, flow_run.id, exc_info=True
            )

    @contextlib.asynccontextmanager
    async def _bound(self) -> AsyncIterator[None]:
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
            if not job.working_dir.is_dir():  # it was temporary, and went with the run
                job = replace(job, working_dir=Path(empty))
            shared = job.kind()
            request = replace(
                job.request(flow_run, shared.env),
                hooks=kind,
                state=state.model_dump(mode="json"),
                brought=brought,
            )
            await self._fork(shared, request, flow_run)

    async def _fork(self, kind: Kind, request: Request, flow_run: FlowRun) -> None:
        ours, theirs = framing.pair()
        with ours, theirs:
            process = ForkedProcess(await self._templates.fork(kind, request, [theirs.fileno()]))
            problem: list[str] = []

            def hear(said: FromRun) -> None:
                if isinstance(said, Problem):
                    problem.append(said.message)

            listener = Listener(ours, hear, flow_run_logger(flow_run))
            try:
                code = await process.wait()
            finally:
                listener.close()
                if process.returncode is None:
                    SessionScope().hard_kill(process.pid)
        if code:
            raise RuntimeError(*problem or [f"the process of the hooks ended with {code}"])
