"""Runs the hooks that Prefect leaves to the worker: of a run that was cancelled, or has crashed."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.logging.loggers import flow_run_logger

from worker.prefork.process import ForkedProcess
from worker.prefork.templates import line

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun, State

    from worker.prefork.starter import Job
    from worker.prefork.templates import Templates

# Cancelling takes up to 30 s for a process that does not end by itself, then runs the hooks.
KEPT_SECONDS = 120


class ForkedHooks:
    """Prefect's protocol `FlowRunHookRunner`, in a fork: the worker imports no flow."""

    def __init__(self, templates: Templates) -> None:
        """With no run yet."""
        self._templates = templates
        self._jobs: dict[UUID, Job] = {}

    def add(self, flow_run_id: UUID, job: Job) -> None:
        """Note how the hooks of a run are to be run."""
        self._jobs[flow_run_id] = job

    def remove(self, flow_run_id: UUID) -> None:
        """Forget it, when the cancellation that has ended the process is over too."""
        job = self._jobs.get(flow_run_id)

        def forget() -> None:
            if self._jobs.get(flow_run_id) is job:  # the run may have been resumed meanwhile
                del self._jobs[flow_run_id]

        asyncio.get_running_loop().call_later(KEPT_SECONDS, forget)

    async def run_cancellation_hooks(self, flow_run: FlowRun, state: State) -> None:
        """Run those of `on_cancellation`; what goes wrong is said in the run's log."""
        if state.is_cancelling():
            await self._run("cancellation", flow_run, state)

    async def run_crashed_hooks(self, flow_run: FlowRun, state: State) -> None:
        """Run those of `on_crashed`; what goes wrong is said in the run's log."""
        if state.is_crashed():
            await self._run("crashed", flow_run, state)

    async def _run(self, kind: str, flow_run: FlowRun, state: State) -> None:
        try:
            with tempfile.TemporaryDirectory(suffix="prefect") as empty:
                job = self._jobs[flow_run.id]
                if not job.working_dir.is_dir():  # it was a temporary one, of the run
                    job = replace(job, working_dir=Path(empty))
                code = await self._fork(job, flow_run, {"hooks": kind, "state": as_json(state)})
            if code:
                raise RuntimeError(f"the process of the hooks ended with {code}")  # noqa: TRY301
        except Exception:  # noqa: BLE001 - a hook that fails fails no run
            flow_run_logger(flow_run).warning(
                "The on_%s hooks of flow run %r could not be run.", kind, flow_run.id, exc_info=True
            )

    async def _fork(self, job: Job, flow_run: FlowRun, more: dict[str, Any]) -> int:
        kind = job.kind()
        ours, theirs = line()
        with ours, theirs:
            request = job.request(flow_run, kind.env, **more)
            pid = await self._templates.fork(kind, request, [theirs.fileno()])
            return await ForkedProcess(pid).wait()


def as_json(state: State) -> dict[str, Any]:
    """`state` as a message holds it."""
    return state.model_dump(mode="json")
