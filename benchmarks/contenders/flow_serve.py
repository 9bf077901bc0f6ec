"""`flow.serve()`: a process of the user's own that polls for runs of its flows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import httpx

from benchmarks.prefect_contender import FlowContender

if TYPE_CHECKING:
    from benchmarks.contender import Job

DEPLOY_SECONDS = 60


class FlowServe(FlowContender):
    """As Prefect's documentation has it: no setting but the address and the login."""

    name = "flow-serve"
    title = "flow.serve()"
    poll_seconds = 10

    def start(self) -> None:
        """Start the process, which makes its deployments."""
        argv = [sys.executable, "flows/serve_flows.py", self.name]
        self.spawn("serve", argv, self.ground.prefect())

    def submit(self, job: Job, count: int) -> list[str]:
        """As soon as the process has made its deployments."""
        self.until("deployment", lambda: self._deployed(job), DEPLOY_SECONDS)
        return super().submit(job, count)

    def _deployed(self, job: Job) -> bool:
        try:
            return bool(self.deployment(job))
        except httpx.HTTPStatusError:
            return False
