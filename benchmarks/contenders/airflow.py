"""Airflow 3: API server, DAG processor, and a scheduler with the LocalExecutor."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from benchmarks import environments
from benchmarks.contender import Contender, Job, Timing
from benchmarks.ground import WIDTH
from scripts.backends.embedded.services import free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

CALLERS = 8
START_SECONDS = 180
MIGRATE_SECONDS = 300
DATABASE = "airflow"
ROWS = """
    select run_id, extract(epoch from queued_at)::float8,
           case when state in ('success', 'failed') then extract(epoch from end_date)::float8 end,
           state
    from dag_run where run_id = any(%s)
"""
UNFINISHED = "delete from dag_run where state in ('queued', 'running')"
DAGS = "select count(*) from dag where not is_stale and dag_id = any(%s)"


class Airflow(Contender):
    """Airflow with default settings, except for the database, the ports and the number of jobs."""

    name = "airflow"
    title = "Airflow 3 (LocalExecutor)"
    uses_prefect = False
    unfinished = ((DATABASE, UNFINISHED),)
    port = 0
    token = ""

    @property
    def home(self) -> Path:
        """The folder for `AIRFLOW_HOME`."""
        return self.ground.layout.base / "airflow"

    def prepare(self) -> None:
        """Create its environment, its folder and its database."""
        self.python = environments.python("airflow")
        self.ground.make_database(DATABASE)
        (self.home / "dags").mkdir(parents=True)
        flows = self.ground.project / "flows"
        shutil.copy(flows / "airflow_jobs.py", self.home / "dags")
        self._secret = uuid.uuid4().hex
        done = subprocess.run(
            [self._program, "db", "migrate"],
            check=False,
            env={**self.ground.environment(), **self._environment()},
            capture_output=True,
            text=True,
            timeout=MIGRATE_SECONDS,
        )
        if done.returncode:
            (self.ground.layout.logs / "airflow-migrate.log").write_text(done.stderr)
            raise self.failed("the migration failed")

    def versions(self) -> dict[str, str]:
        """Return the versions of Airflow's packages."""
        packages = ["apache-airflow", "apache-airflow-task-sdk", "sqlalchemy"]
        return environments.versions(self.python, packages)

    def start_server(self) -> None:
        """Start the API server and the DAG processor."""
        self.port = free_port()
        self._spawn("server-api", "api-server", "--port", str(self.port))
        self._spawn("server-dags", "dag-processor")
        self.until("answer of the API", self._answers, START_SECONDS)
        self.until("DAGs", self._has_dags, START_SECONDS)

    def start(self) -> None:
        """Start the scheduler, whose children run the tasks."""
        self._spawn("scheduler", "scheduler")

    def submit(self, job: Job, count: int) -> list[str]:
        """Trigger the runs from a few threads at once."""
        address = f"{self._url}/api/v2/dags/{job}/dagRuns"

        def trigger(_number: int) -> str:
            name = f"bench-{uuid.uuid4().hex}"
            body = {"dag_run_id": name, "logical_date": None}
            headers = {"Authorization": f"Bearer {self.token}"}
            httpx.post(address, json=body, headers=headers, timeout=60).raise_for_status()
            return name

        with ThreadPoolExecutor(CALLERS) as callers:
            return list(callers.map(trigger, range(count)))

    def timings(self, ids: Sequence[str]) -> dict[str, Timing]:
        """Return the timings that Airflow has stored for the DAG runs."""
        lines = self.ground.first_lines(ids)
        return {
            key: Timing(
                created,
                lines.get(key),
                ended,
                state if ended and state != "success" else None,
            )
            for key, created, ended, state in self.ground.query(DATABASE, ROWS, (list(ids),))
        }

    @property
    def _program(self) -> str:
        return str(Path(self.python).with_name("airflow"))

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _environment(self) -> dict[str, str]:
        width = str(WIDTH)
        programs = str(Path(self.python).parent)
        return {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW_HOME": str(self.home),
            "PYTHONPATH": str(self.ground.project / "flows"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.ground.url(DATABASE, "postgresql+psycopg2"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": self.ground.url(
                DATABASE, "postgresql+asyncpg"
            ),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.home / "dags"),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__PARALLELISM": width,
            "AIRFLOW__CORE__MAX_ACTIVE_RUNS_PER_DAG": width,
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self._url}/execution/",
            "AIRFLOW__API__SECRET_KEY": self._secret,
            "AIRFLOW__API_AUTH__JWT_SECRET": self._secret,
            # The newer PyJWT that gets installed refuses to sign without an issuer.
            "AIRFLOW__API_AUTH__JWT_ISSUER": "benchmarks",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        }

    def _spawn(self, name: str, *arguments: str) -> None:
        self.spawn(name, [self._program, *arguments], self._environment())

    def _answers(self) -> bool:
        try:
            answer = httpx.get(f"{self._url}/auth/token", timeout=10)
        except httpx.HTTPError:
            return False
        self.token = answer.json().get("access_token", "") if answer.is_success else ""
        return bool(self.token)

    def _has_dags(self) -> bool:
        names = [job.value for job in self.jobs]
        return bool(self.ground.query(DATABASE, DAGS, (names,))[0][0] == len(names))
