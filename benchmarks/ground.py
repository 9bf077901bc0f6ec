"""The ground that all contenders share: PostgreSQL and a Prefect server, set up as in the stack."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import psycopg2
from psycopg2 import sql

from scripts.backends import children
from scripts.backends.embedded import cluster as clusters
from scripts.backends.embedded import layout as layouts
from scripts.backends.embedded import processes, services
from scripts.backends.embedded.backend import Embedded
from scripts.backends.embedded.service import Service, kill_group, spawn
from server import environment, secrets, settings
from server.database import roles
from server.errors import StackError
from server.place import DATABASE_USER, Place
from server.services import worker
from server.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

JOBS = Path(__file__).with_name("jobs")
START_SECONDS = 180
# The maximum number of jobs at once for every contender, that of the stack's own work pool.
WIDTH = 10


@dataclass
class Ground:
    """A database server, a Prefect server and a project folder with the jobs."""

    values: settings.Settings
    layout: layouts.Layout
    place: Place
    steps: list[Service | services.OneShot]
    connections: dict[str, Any] = field(default_factory=dict)

    @property
    def project(self) -> Path:
        """A folder like a user's project, with the jobs in `flows/`."""
        return self.layout.base / "project"

    @property
    def hold(self) -> Path:
        """A folder: as long as it exists, the jobs of the kind `hold` keep running."""
        return self.layout.base / "hold"

    @property
    def server(self) -> Service:
        """The Prefect server."""
        return next(
            step for step in self.steps if isinstance(step, Service) and step.name == "server"
        )

    def environment(self) -> dict[str, str]:
        """Return the variables for the processes of every contender."""
        return {
            **services.base_environment(self.layout),
            "BENCH_HOLD": str(self.hold),
            "BENCH_MARKS": self.conninfo("marks"),
            "TMPDIR": str(self.layout.scratch),
        }

    def prefect(self) -> dict[str, str]:
        """Return only the variables that a Prefect client needs."""
        login = environment.login(self.values, self.place)
        return {
            "PREFECT_API_URL": self.place.api_url,
            "PREFECT_API_AUTH_STRING": login,
            "PREFECT_HOME": str(self.layout.scratch / "prefect"),
        }

    def worker(self) -> dict[str, str]:
        """Return the variables of a stack's worker, with a free port for its health server."""
        place = dataclasses.replace(self.place, worker_health_port=services.free_port())
        return worker.SERVICE.environment(self.values, place)

    def client(self) -> httpx.Client:
        """Return a client of the Prefect server's API."""
        user, _, password = environment.login(self.values, self.place).partition(":")
        auth = httpx.BasicAuth(user, password)
        return httpx.Client(base_url=self.place.api_url, auth=auth, timeout=60)

    def conninfo(self, name: str) -> str:
        """Return the connection string of the database `name` for libpq."""
        password = secrets.database_password(self.place.secrets)
        host = self.place.database_host
        return f"host={host} user={DATABASE_USER} password={password} dbname={name}"

    def url(self, name: str, scheme: str) -> str:
        """Return the URL of the database `name` for SQLAlchemy."""
        password = quote(secrets.database_password(self.place.secrets), safe="")
        host = quote(self.place.database_host, safe="")
        return f"{scheme}://{DATABASE_USER}:{password}@/{name}?host={host}"

    def make_database(self, name: str) -> None:
        """Create an empty database `name`; drop an existing one."""
        # The stack's own login may not create databases.
        connection = psycopg2.connect(
            host=self.place.database_host, user=roles.SUPERUSER, dbname="postgres"
        )
        try:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )
            cursor.execute(
                sql.SQL("create database {} owner {}").format(
                    sql.Identifier(name), sql.Identifier(DATABASE_USER)
                )
            )
        finally:
            connection.close()

    def query(self, name: str, statement: str, values: object = None) -> list[Any]:
        """Return the rows of `statement` in the database `name`.

        Connections are kept. If one was lost, the next call connects again.
        """
        if name not in self.connections or self.connections[name].closed:
            self.connections[name] = psycopg2.connect(self.conninfo(name))
            self.connections[name].autocommit = True
        cursor = self.connections[name].cursor()
        cursor.execute(statement, values)
        return list(cursor.fetchall()) if cursor.description else []

    def first_lines(self, keys: Sequence[str]) -> dict[str, float]:
        """Return when each run outside of Prefect wrote its first line; see `jobs/work.py`.

        The times are in seconds since the epoch. A run that has not come so far is missing.
        """
        statement = "select key, at from mark where key = any(%s)"
        return dict(self.query("marks", statement, (list(keys),)))

    def clock_offset_seconds(self) -> float:
        """Return how far the clock of the database is ahead; on one machine, next to nothing."""
        before = time.time()
        now = self.query("postgres", "select extract(epoch from clock_timestamp())::float8")[0][0]
        return float(now) - (before + time.time()) / 2

    def serve(self, *, prefect: bool) -> None:
        """Start a fresh Prefect server if it is used, so that it does not burden other contenders.

        A fresh one has nothing in its memory that another contender has left, and has not crashed.
        """
        self.server.stop()
        if prefect:
            _bring_up(self.server)

    def running(self) -> set[int]:
        """Return the ids of all processes of this ground, which a mark in their environment tells.

        The process that measures is not among them.
        """
        return {process.pid for process in processes.find(self.layout, clusters.of(self.layout))}


@contextmanager
def ground() -> Iterator[Ground]:
    """Yield a ground in a stack of its own, and remove it at the end.

    Raises:
        StackError: PostgreSQL, the migration or the server did not start.
    """
    name = f"bench-{os.getpid()}"
    values = settings.Settings().model_copy(
        update={"stack_name": name, "stack_port": services.free_port(), "stack_auth": "on"}
    )
    layout = layouts.of(values)
    layout.make()
    secrets.ensure(values, layout.secrets)
    cluster = clusters.of(layout)
    place = layouts.place(layout, values, cluster.socket)
    wanted = ("postgres", "migrate", "server")
    steps = [step for step in services.of(layout, values) if step.name in wanted]
    shared = Ground(values, layout, place, steps)
    try:
        for step in steps:
            _bring_up(step)
        (shared.project / "flows").mkdir(parents=True)
        for job in JOBS.glob("[!_]*.py"):
            shutil.copy(job, shared.project / "flows")
        shared.make_database("marks")
        shared.query("marks", "create table mark (key text primary key, at float8)")
        yield shared
    finally:
        for connection in shared.connections.values():
            connection.close()
        for step in reversed(steps):
            if isinstance(step, Service):
                step.stop()
        Embedded(values).down(volumes=True)


def _bring_up(step: Service | services.OneShot) -> None:
    deadline = time.monotonic() + START_SECONDS
    if isinstance(step, services.OneShot):
        process = spawn(step.prepare(), ROOT, step.log)
        code = process.wait(START_SECONDS)
        kill_group(process.pid)
        if code:
            raise children.failure(step.name, code, services.tail(step.log))
        return
    step.begin()
    while not step.state.healthy:
        step.tend()
        if time.monotonic() > deadline:
            raise StackError(
                f"{step.name} did not become healthy",
                found=step.state.problem or "no answer",
                details=services.tail(step.log),
            )
        time.sleep(0.1)
