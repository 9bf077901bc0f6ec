"""A PostgreSQL and a server without a supervisor, which a test may stop and kill."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import httpx

from scripts.backends.embedded import cluster as clusters
from scripts.backends.embedded import layout as layouts
from scripts.backends.embedded.service import Start, spawn
from server import environment, secrets, services
from server.database import connection as database
from server.place import VARIABLE
from server.services import postgres
from server.settings import ROOT, Settings
from tests.stack import free_port, wait_for

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from scripts.backends.embedded.cluster import Cluster
    from scripts.backends.embedded.layout import Layout
    from server.place import Place


@dataclass
class Database:
    """A PostgreSQL cluster with an empty database."""

    cluster: Cluster
    place: Place
    logs: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start PostgreSQL and wait until it answers."""
        start = Start(
            self.cluster.command(), dict(os.environ), lambda _pid: None, self.cluster.account
        )
        self.process = spawn(start, self.cluster.home, self.logs / "postgres.log")
        wait_for("database", lambda: postgres.check(self.place) is None, 30)

    def stop(self) -> None:
        """Stop PostgreSQL, if it runs, without waiting for its clients to disconnect."""
        if self.process:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
            self.process = None

    def execute(self, statement: str, *values: object) -> list[Any]:
        """Run one statement; return its rows, if it has any."""
        return execute(self.place, statement, *values)


def execute(place: Place, statement: str, *values: object) -> list[Any]:
    """Run one statement in the database at `place`; return its rows, if it has any."""
    with database.connect(place, "test") as connection, connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def running(folder: Path) -> Iterator[Database]:
    """Yield a running PostgreSQL with an empty database in `folder`; delete it afterwards."""
    with started(layouts.Layout("database", folder / "stack")) as postgresql:
        try:
            yield postgresql
        finally:
            postgresql.stop()
            shutil.rmtree(postgresql.cluster.home)
            shutil.rmtree(postgresql.cluster.socket, ignore_errors=True)


@contextmanager
def started(layout: Layout) -> Iterator[Database]:
    """Yield a running PostgreSQL with an empty database; its data stay in `layout`."""
    layout.make()
    secrets.ensure(Settings(), layout.secrets)
    cluster = clusters.of(layout)
    place = layouts.place(layout, Settings(), cluster.socket)
    place = replace(place, listen_port=free_port())
    clusters.make(layout, cluster, secrets.database_password(layout.secrets))
    postgresql = Database(cluster, place, layout.logs)
    try:
        postgresql.start()
        yield postgresql
    finally:
        postgresql.stop()


def start(name: str, place: Place, log: Path) -> subprocess.Popen[bytes]:
    """Start the process of a service as the supervisor does; `log` gets its output."""
    settings, service = Settings(), services.named(name)
    own = service.environment(settings, place)
    env = {**os.environ, **own, VARIABLE: place.dump(), "PYTHONPATH": str(ROOT)}
    env["PREFECT_SERVER_UI_ENABLED"] = "false"  # copying its files takes seconds
    argv = service.command(settings, place)
    return spawn(Start(argv, env, lambda _pid: None), ROOT, log)


@dataclass
class Server:
    """The server process of a database."""

    database: Database
    process: subprocess.Popen[bytes] | None = None
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        place = self.database.place
        user, _, password = environment.login(Settings(), place).partition(":")
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{place.listen_port}/api",
            auth=(user, password),
            timeout=30,
        )

    def start(self) -> None:
        """Start the server and wait until it is ready."""
        place = self.database.place
        self.process = start("server", place, self.database.logs / "server.log")
        wait_for("server", lambda: self.client.get("/ready").status_code == httpx.codes.OK)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to the server, if it runs, and wait until it has ended."""
        if self.process:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def post(self, path: str, body: object) -> httpx.Response:
        """POST `body`; return the answer, whatever its status."""
        return self.client.post(path, json=body)

    def post_json(self, path: str, body: object) -> Any:
        """POST `body`; return the JSON of the answer, which has to be a success."""
        answer = self.post(path, body)
        assert answer.is_success, answer.text
        return answer.json()
