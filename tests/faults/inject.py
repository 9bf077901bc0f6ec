"""Ways to hurt a stack. What they take away, they put back."""

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
    """Wait until a service has a main process and return it."""

    def probe() -> psutil.Process | None:
        with contextlib.suppress(psutil.NoSuchProcess, OSError, ValueError):
            state = json.loads((ground.base / "state.json").read_text())
            [pid] = [it["pid"] for it in state["services"] if it["name"] == name]
            return psutil.Process(pid) if pid else None
        return None

    process: psutil.Process = wait_for(f"process of {name}", probe)
    return process


def supervisor(ground: Ground) -> psutil.Process:
    """Return the supervisor's process, which has started all others."""
    return psutil.Process(json.loads((ground.base / "state.json").read_text())["pid"])


def runs(ground: Ground) -> list[psutil.Process]:
    """Return the processes of runs: children of the worker that lead a session of their own."""
    return [each for each in children(service(ground, "worker")) if leads_session(each)]


def templates(ground: Ground) -> list[psutil.Process]:
    """Return the templates that runs are forked from."""
    return [each for each in children(service(ground, "worker")) if not leads_session(each)]


def kill_worker(ground: Ground) -> set[int]:
    """Kill the worker; return the pids of the runs that die with it. No run starts meanwhile."""
    worker = service(ground, "worker")
    ended = freeze(worker)
    kill(worker)
    return ended


def freeze(worker: psutil.Process) -> set[int]:
    """Stop a worker from starting runs; return the pids of those that it has, as they see them."""
    for process in (worker, *(each for each in children(worker) if not leads_session(each))):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
    return {own_pid(each) for each in children(worker) if leads_session(each)}


def own_pid(process: psutil.Process) -> int:
    """Return the pid that a process sees itself: in a container, it differs from the host's."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return process.pid
    [line] = [line for line in status.splitlines() if line.startswith("NSpid:")]
    return int(line.split()[-1])


def kill(process: psutil.Process) -> None:
    """Kill a process and wait until it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
    wait_for(f"end of process {process.pid}", lambda: not _alive(process), 30)


def kill_all(ground: Ground) -> set[int]:
    """Kill every process of the stack at once, as a power cut does; return the pids of its runs."""
    first = supervisor(ground)
    ended = freeze(service(ground, "worker"))
    everything = [first, *first.children(recursive=True)]
    for process in everything:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    wait_for("end of all processes", lambda: not any(map(_alive, everything)), 30)
    return ended


def journals(ground: Ground) -> list[Path]:
    """Return the folders of the journals of this worker and of those before it."""
    return [
        lock.parent for lock in ground.base.rglob("lock") if UUID_NAME.fullmatch(lock.parent.name)
    ]


def postgres_data(ground: Ground) -> Path:
    """Return the data directory of the running PostgreSQL."""
    command = service(ground, "postgres").cmdline()
    return Path(command[command.index("-D") + 1])


def connect(ground: Ground, socket: Path) -> Connection:
    """Connect to the database with the stack's login.

    Raises:
        psycopg2.OperationalError: PostgreSQL does not answer, or has no connection left.
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
    """Return the folder of the socket that the running PostgreSQL listens on."""
    command = service(ground, "postgres").cmdline()
    option = next(word for word in command if word.startswith(SOCKET_OPTION))
    return Path(option.removeprefix(SOCKET_OPTION))


def postgres_answers(ground: Ground, socket: Path) -> bool:
    """Whether PostgreSQL takes a connection."""
    try:
        connect(ground, socket).close()
    except psycopg2.OperationalError:
        return False
    return True


@contextmanager
def postgres_away(ground: Ground) -> Iterator[None]:
    """Kill the postmaster and let none start until the block ends; then wait until one answers.

    Without PG_VERSION, PostgreSQL refuses to start on the data and leaves them as they are.
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
    """Wait until PostgreSQL takes connections again, which it has to do without help."""
    wait_for("PostgreSQL that answers", lambda: postgres_answers(ground, socket), 60)


def exhaust_connections(ground: Ground, seconds: float) -> int:
    """Take every free connection for `seconds`; return how many were held in the end."""
    socket = socket_folder(ground)
    held: list[Connection] = []
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            try:
                held.append(connect(ground, socket))
            except psycopg2.OperationalError:
                time.sleep(0.05)  # all are taken: wait for one to be given back
        return len(held)
    finally:
        for connection in held:
            connection.close()


def children(process: psutil.Process) -> list[psutil.Process]:
    """Return the children of a process that are alive."""
    alive = []
    for child in process.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE:
                alive.append(child)
    return alive


def leads_session(process: psutil.Process) -> bool:
    """Whether a child of a worker is a run: a template belongs to the worker's session."""
    try:
        return os.getsid(process.pid) == process.pid
    except ProcessLookupError:
        return False


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
