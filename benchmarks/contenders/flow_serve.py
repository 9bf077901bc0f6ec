"""`flow.serve()`: a process of the user that polls for runs of its own flows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import httpx

from benchmarks.prefect_contender import FlowContender

if TYPE_CHECKING:
    from benchmarks.contender import Job

DEPLOY_SECONDS = 60


class FlowServe(FlowContender):
    """`flow.serve()` as in Prefect's documentation, with the address and the login only."""

    name = "flow-serve"
    title = "flow.serve()"
    poll_seconds = 10

    def start(self) -> None:
        """Start the process, which creates its deployments."""
        argv = [sys.executable, "flows/serve_flows.py", self.name]
        self.spawn("serve", argv, self.ground.prefect())

    def submit(self, job: Job, count: int) -> list[str]:
        """Create the runs, as soon as the process has created its deployments."""
        self.until("deployment", lambda: self._deployed(job), DEPLOY_SECONDS)
        return super().submit(job, count)

    def _deployed(self, job: Job) -> bool:
        try:
            return bool(self.deployment(job))
        except httpx.HTTPStatusError:
            return False
