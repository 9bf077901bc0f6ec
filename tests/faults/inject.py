"""Ways to hurt a stack, each of which puts back what it took."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg2

from server import secrets
from server.place import DATABASE_NAME, DATABASE_USER
from tests.stack import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

    from tests.faults.ground import Ground

UUID_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SOCKET_OPTION = "unix_socket_directories="


def service(ground: Ground, name: str) -> psutil.Process:
    """The main process of a service, once it has one."""

    def probe() -> psutil.Process | None:
        with contextlib.suppress(psutil.NoSuchProcess, OSError, ValueError):
            state = json.loads((ground.base / "state.json").read_text())
            [pid] = [each["pid"] for each in state["services"] if each["name"] == name]
            return psutil.Process(pid) if pid else None
        return None

    found: psutil.Process = wait_for(f"process of {name}", probe)
    return found


def supervisor(ground: Ground) -> psutil.Process:
    """The process that starts all others."""
    return psutil.Process(json.loads((ground.base / "state.json").read_text())["pid"])


def runs(ground: Ground) -> list[psutil.Process]:
    """The processes of runs: children of the worker that lead a session of their own."""
    return [each for each in children(service(ground, "worker")) if leads_session(each)]


def templates(ground: Ground) -> list[psutil.Process]:
    """What runs are forked from."""
    return [each for each in children(service(ground, "worker")) if not leads_session(each)]


def kill_worker(ground: Ground) -> set[int]:
    """Kill the worker; the processes of the runs that die with it, which no new one is among."""
    worker = service(ground, "worker")
    ended = freeze(worker)
    kill(worker)
    return ended


def freeze(worker: psutil.Process) -> set[int]:
    """Have it start no more runs; those that it has, by the numbers that they know themselves."""
    for each in (worker, *(each for each in children(worker) if not leads_session(each))):
        with contextlib.suppress(psutil.NoSuchProcess):
            each.suspend()
    return {own_pid(each) for each in children(worker) if leads_session(each)}


def own_pid(process: psutil.Process) -> int:
    """What the process takes for its number: in a container, another than the host's."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return process.pid
    [line] = [each for each in status.splitlines() if each.startswith("NSpid:")]
    return int(line.split()[-1])


def kill(process: psutil.Process) -> None:
    """End it at once, and wait until it has gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
    wait_for(f"end of process {process.pid}", lambda: not _alive(process), 30)


def kill_all(ground: Ground) -> set[int]:
    """End every process of the stack at once, as a power cut does; those of runs."""
    first = supervisor(ground)
    ended = freeze(service(ground, "worker"))
    found = [first, *first.children(recursive=True)]
    for each in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    wait_for("end of all processes", lambda: not any(map(_alive, found)), 30)
    return ended


def journals(ground: Ground) -> list[Path]:
    """The folders in which the worker, and others before it, have noted their runs."""
    return [
        each.parent for each in ground.base.rglob("lock") if UUID_NAME.fullmatch(each.parent.name)
    ]


def postgres_data(ground: Ground) -> Path:
    """The data directory of the PostgreSQL that runs."""
    command = service(ground, "postgres").cmdline()
    return Path(command[command.index("-D") + 1])


def connect(ground: Ground, socket: Path) -> Connection:
    """A connection with the stack's login.

    Raises:
        psycopg2.OperationalError: PostgreSQL does not answer, or takes no more.
    """
    password = (ground.base / "secrets" / secrets.DATABASE_PASSWORD).read_text()
    return psycopg2.connect(
        host=str(socket),
        user=DATABASE_USER,
        password=password,
        dbname=DATABASE_NAME,
        connect_timeout=5,
        application_name="fault",
    )


def socket_folder(ground: Ground) -> Path:
    """Where the PostgreSQL that runs listens."""
    command = service(ground, "postgres").cmdline()
    option = next(each for each in command if each.startswith(SOCKET_OPTION))
    return Path(option.removeprefix(SOCKET_OPTION))


def postgres_answers(ground: Ground, socket: Path) -> bool:
    """Whether it takes a connection."""
    try:
        connect(ground, socket).close()
    except psycopg2.OperationalError:
        return False
    return True


@contextmanager
def postgres_away(ground: Ground) -> Iterator[None]:
    """Kill the postmaster and let none start; in the end one does, and answers.

    PostgreSQL refuses data without PG_VERSION and touches nothing of them.
    """
    data, socket = postgres_data(ground), socket_folder(ground)
    version, aside = data / "PG_VERSION", data / "PG_VERSION.aside"
    version.rename(aside)
    try:
        kill(service(ground, "postgres"))
        yield
    finally:
        aside.rename(version)
    wait_for_postgres(ground, socket)


def wait_for_postgres(ground: Ground, socket: Path) -> None:
    """Return when PostgreSQL takes connections again, which nobody has to help it to."""
    wait_for("PostgreSQL that answers", lambda: postgres_answers(ground, socket), 60)


def exhaust_connections(ground: Ground, seconds: float) -> int:
    """Take every connection that becomes free, for so long; how many were held in the end."""
    socket = socket_folder(ground)
    held: list[Connection] = []
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            try:
                held.append(connect(ground, socket))
            except psycopg2.OperationalError:
                time.sleep(0.05)  # all taken: the next one that is given back
        return len(held)
    finally:
        for each in held:
            each.close()


def children(process: psutil.Process) -> list[psutil.Process]:
    """Those of its children that live."""
    found = []
    for each in process.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
    return found


def leads_session(process: psutil.Process) -> bool:
    """Whether it is a run: a template is of its worker's session."""
    try:
        return os.getsid(process.pid) == process.pid
    except ProcessLookupError:
        return False


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
