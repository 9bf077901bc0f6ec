"""The base classes of the contenders that run Prefect deployments."""

from __future__ import annotations

import importlib.metadata
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

from prefect.workers.base import BaseWorker

from benchmarks.contender import Contender, Job, Timing
from benchmarks.ground import WIDTH

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST_LINE = "first line"
CALLERS = 8
TERMINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
RUNS = """
    select id::text, extract(epoch from created)::float8,
           case when state_type::text = any(%s) then extract(epoch from end_time)::float8 end,
           state_type::text
    from flow_run where id = any(%s::uuid[])
"""
LINES = """
    select flow_run_id::text, extract(epoch from min(timestamp))::float8
    from log where flow_run_id = any(%s::uuid[]) and message = %s group by flow_run_id
"""


class FlowContender(Contender):
    """Creates and reads runs of deployments, whatever executes them."""

    jobs: ClassVar[frozenset[Job]] = frozenset(Job)
    # Runs that stay Running would keep their slots in the work pool.
    unfinished = (("prefect", "delete from flow_run where end_time is null"),)

    def versions(self) -> dict[str, str]:
        """Return the version of Prefect."""
        return {"prefect": importlib.metadata.version("prefect")}

    def deployment(self, job: Job) -> str:
        """Return the id of the deployment of `job`."""
        with self.ground.client() as client:
            answer = client.get(f"/deployments/name/{job}/{self.name}")
            answer.raise_for_status()
            return str(answer.json()["id"])

    def submit(self, job: Job, count: int) -> list[str]:
        """Create the runs from a few threads at once."""
        path = f"/deployments/{self.deployment(job)}/create_flow_run"
        with self.ground.client() as client, ThreadPoolExecutor(CALLERS) as callers:

            def create(_number: int) -> str:
                answer = client.post(path, json={"state": {"type": "SCHEDULED"}})
                answer.raise_for_status()
                return str(answer.json()["id"])

            return list(callers.map(create, range(count)))

    def timings(self, ids: Sequence[str]) -> dict[str, Timing]:
        """Return the timings of the runs and of their first log lines, as the server has them."""
        rows = self.ground.query("prefect", RUNS, (list(TERMINAL), list(ids)))
        lines = dict(self.ground.query("prefect", LINES, (list(ids), FIRST_LINE)))
        return {
            key: Timing(
                created,
                lines.get(key),
                # Log lines arrive a little later than states: wait until both are there.
                ended if key in lines or state != "COMPLETED" else None,
                state if ended and state != "COMPLETED" else None,
            )
            for key, created, ended, state in rows
        }


class WorkerContender(FlowContender):
    """A worker with a work pool of its own."""

    worker_type: ClassVar[str] = "process"
    job_variables: ClassVar[dict[str, Any]] = {}
    # As the stack starts its own worker.
    options: ClassVar[tuple[str, ...]] = ("--with-healthcheck",)

    def environment(self) -> dict[str, str]:
        """Return the variables for the worker; by default those of the stack's own worker."""
        return self.ground.worker()

    @classmethod
    def why_not(cls) -> str | None:
        """Return why it cannot be measured on this machine; None if it can."""
        if BaseWorker.get_worker_class_from_type(cls.worker_type) is None:
            return f"there is no Prefect worker type {cls.worker_type}"
        return None

    def prepare(self) -> None:
        """Create the work pool and the deployments."""
        kind: Any = BaseWorker.get_worker_class_from_type(self.worker_type)
        pool = {
            "name": self.name,
            "type": self.worker_type,
            "base_job_template": kind.get_default_base_job_template(),
            "concurrency_limit": WIDTH,
        }
        folder = str(self.ground.project)
        with self.ground.client() as client:
            client.post("/work_pools/", json=pool).raise_for_status()
            for job in Job:
                flow = client.post("/flows/", json={"name": job.value})
                flow.raise_for_status()
                body = {
                    "name": self.name,
                    "flow_id": flow.json()["id"],
                    "entrypoint": f"flows/prefect_jobs.py:{job}",
                    "work_pool_name": self.name,
                    "pull_steps": [],
                    "job_variables": {"working_dir": folder, **self.job_variables},
                    "parameter_openapi_schema": {"type": "object", "properties": {}},
                }
                client.post("/deployments/", json=body).raise_for_status()

    def start(self) -> None:
        """Start the worker."""
        argv = [
            *(sys.executable, "-m", "prefect", "worker", "start", "--type", self.worker_type),
            *("--pool", self.name, "--name", self.name),
            *("--no-create-pool-if-not-found", "--install-policy", "never"),
            *self.options,
        ]
        self.spawn("worker", argv, self.environment())
