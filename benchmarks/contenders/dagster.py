"""Dagster: web server, code server and daemon, with PostgreSQL as its storage."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from benchmarks import environments
from benchmarks.contender import Contender, Job, Timing
from benchmarks.ground import WIDTH
from scripts.backends.embedded.services import free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

CALLERS = 8
START_SECONDS = 120
LAUNCH = """
    mutation ($selector: JobOrPipelineSelector!) {
      launchRun(executionParams: {selector: $selector}) {
        __typename
        ... on LaunchRunSuccess { run { runId } }
        ... on PythonError { message }
      }
    }
"""
LOCATIONS = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
ROWS = """
    select run_id, extract(epoch from create_timestamp at time zone 'UTC')::float8,
           case when status in ('SUCCESS', 'FAILURE', 'CANCELED') then end_time end, status
    from runs where run_id = any(%s)
"""
UNFINISHED = "delete from runs where status not in ('SUCCESS', 'FAILURE', 'CANCELED')"
COORDINATOR = """
from dagster import DagsterInstance
with DagsterInstance.get() as instance:
    coordinator = instance.run_coordinator
    print(type(coordinator).__name__, f"every {coordinator.dequeue_interval_seconds} s")
"""


class Dagster(Contender):
    """Dagster, whose daemon takes runs from a queue; its code server starts a process for each."""

    name = "dagster"
    title = "Dagster"
    uses_prefect = False
    poll_seconds = (
        5  # interval at which the daemon reads the queue; `versions` records the real one
    )
    unfinished = (("dagster", UNFINISHED),)
    port = 0

    @property
    def home(self) -> Path:
        """The folder of the Dagster instance."""
        return self.ground.layout.base / "dagster"

    def prepare(self) -> None:
        """Create its environment, its database and its instance."""
        self.python = environments.python("dagster")
        self.ground.make_database("dagster")
        self.home.mkdir()
        url = self.ground.url("dagster", "postgresql")
        instance = {
            "storage": {"postgres": {"postgres_url": url}},
            "concurrency": {"runs": {"max_concurrent_runs": WIDTH}},
            "telemetry": {"enabled": False},
        }
        # JSON is YAML too.
        (self.home / "dagster.yaml").write_text(json.dumps(instance))

    def versions(self) -> dict[str, str]:
        """Return the versions of Dagster's packages, and how it takes runs from its queue."""
        packages = ["dagster", "dagster-postgres", "dagster-webserver"]
        asked = subprocess.run(
            [self.python, "-c", COORDINATOR],
            check=True,
            env={**self.ground.environment(), "DAGSTER_HOME": str(self.home)},
            capture_output=True,
            text=True,
        )
        versions = environments.versions(self.python, packages)
        return {**versions, "run coordinator": asked.stdout.split("\n")[-2]}

    @property
    def workers(self) -> list[int]:
        """The daemon, and the runs, which are children of the code server."""
        runs = psutil.Process(self.processes["server-code"].pid).children()
        return super().workers + [run.pid for run in runs]

    def start_server(self) -> None:
        """Start the web server, and the code server, whose children are the runs."""
        self.port, code = free_port(), free_port()
        location = {"host": "127.0.0.1", "port": code, "location_name": "bench"}
        workspace = {"load_from": [{"grpc_server": location}]}
        (self.home / "workspace.yaml").write_text(json.dumps(workspace))
        jobs = str(self.ground.project / "flows" / "dagster_jobs.py")
        here = ("-h", "127.0.0.1", "-p", code)
        self._spawn("server-code", "dagster", "api", "grpc", "-f", jobs, *here)
        self._spawn("server-web", "dagster-webserver", "-p", self.port)
        self.until("answer of the web server", self._answers, START_SECONDS)

    def start(self) -> None:
        """Start the daemon."""
        self._spawn("daemon", "dagster-daemon", "run")

    def submit(self, job: Job, count: int) -> list[str]:
        """Launch the runs from a few threads at once."""
        selector = {
            "repositoryLocationName": "bench",
            "repositoryName": "__repository__",
            "jobName": job.value,
        }

        def launch(_number: int) -> str:
            answer = self._graphql(LAUNCH, {"selector": selector})["launchRun"]
            if "run" not in answer:
                raise self.failed(f"no run of {job}: {answer}")
            return str(answer["run"]["runId"])

        with ThreadPoolExecutor(CALLERS) as callers:
            return list(callers.map(launch, range(count)))

    def timings(self, ids: Sequence[str]) -> dict[str, Timing]:
        """Return the timings that Dagster has stored for the runs."""
        lines = self.ground.first_lines(ids)
        return {
            key: Timing(
                created,
                lines.get(key),
                ended,
                status if ended and status != "SUCCESS" else None,
            )
            for key, created, ended, status in self.ground.query("dagster", ROWS, (list(ids),))
        }

    def _spawn(self, name: str, program: str, *arguments: object) -> None:
        argv = [
            str(Path(self.python).with_name(program)),
            *(str(argument) for argument in arguments),
        ]
        workspace = ["-w", str(self.home / "workspace.yaml")]
        env = {
            "DAGSTER_HOME": str(self.home),
            "PGTZ": "UTC",
            "PYTHONPATH": str(self.ground.project / "flows"),
        }
        self.spawn(name, argv if name == "server-code" else [*argv, *workspace], env)

    def _answers(self) -> bool:
        try:
            return bool(self._graphql(LOCATIONS, {})["repositoriesOrError"].get("nodes"))
        except httpx.HTTPError:
            return False

    def _graphql(self, query: str, variables: dict[str, Any]) -> Any:
        address = f"http://127.0.0.1:{self.port}/graphql"
        body = {"query": query, "variables": variables}
        answer = httpx.post(address, json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()["data"]
