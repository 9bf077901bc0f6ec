"""Checks the data of a PostgreSQL that is about to start, and removes lock files that are stale.

PostgreSQL goes by the process ids in its lock files alone. After everything was killed, or the
machine restarted, such an id may be another process's, and PostgreSQL refuses to start. Which
processes really use the data is told by their working directory: all processes of PostgreSQL keep
the data directory as theirs. That holds after a rename, and a copy has no such processes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psutil

from server.errors import MistakeError, StackError

if TYPE_CHECKING:
    from pathlib import Path

PID_FILE = "postmaster.pid"
CONTROL_FILE_BYTES = 8192
# Children of a killed PostgreSQL end within milliseconds, unless they are busy.
GRACE_SECONDS = 10.0


def check(data: Path, version: str) -> None:
    """Refuse a data directory whose most important files are damaged or of another version.

    Args:
        data: the data directory.
        version: the major version that is expected, such as "18".

    Raises:
        MistakeError: naming the file.
    """
    try:
        found = (data / "PG_VERSION").read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise _damaged(data, "PG_VERSION", f"version {version}", str(error)) from error
    if found.isdigit() and found != version:
        raise MistakeError(
            "the data of the stack are of another version of PostgreSQL",
            expected=f"version {version}",
            found=f"version {found} in {data}",
            do="use the release of the stack that they were made with",
        )
    if found != version:
        raise _damaged(data, "PG_VERSION", f"version {version}", repr(found))
    control = data / "global" / "pg_control"
    expected = f"a file of {CONTROL_FILE_BYTES} bytes"
    try:
        size = control.stat().st_size
    except OSError as error:
        raise _damaged(data, "global/pg_control", expected, str(error)) from error
    if size != CONTROL_FILE_BYTES:
        raise _damaged(data, "global/pg_control", expected, f"one of {size} bytes")


def clear(data: Path, socket: Path, grace_seconds: float = GRACE_SECONDS) -> None:
    """Remove the lock files of processes that are gone, from `data` and from the folder `socket`.

    Children of a killed PostgreSQL may still be writing: they get `grace_seconds` to end, and are
    then killed. A PostgreSQL that is alive is never touched.

    Raises:
        StackError: a PostgreSQL runs on these data, or another listens in `socket`.
    """
    left = users(data)
    _, left = psutil.wait_procs(left, timeout=grace_seconds if left else 0)
    named = first_line(data / PID_FILE)
    if any(process.pid == named for process in left):
        raise StackError(
            "PostgreSQL runs on the data of this stack already",
            expected="no other process on them",
            found=f"process {named}, in {data}",
            do=f"end it, if it is not needed: kill -INT {named}; then scripts/stack up",
        )
    for process in left:
        process.kill()  # its PostgreSQL is gone; the write-ahead log has what it had not written
    psutil.wait_procs(left, timeout=grace_seconds if left else 0)
    if still := users(data):
        raise StackError(
            "processes of a PostgreSQL that was killed do not end",
            expected=f"their end within {grace_seconds:.0f} s",
            found=", ".join(str(process.pid) for process in still),
            do="scripts/stack up, once they have ended",
        )
    (data / PID_FILE).unlink(missing_ok=True)
    for lock in socket.glob(".s.PGSQL.*.lock"):
        other = first_line(lock)
        if other is not None and _is_postgres(other):
            raise StackError(
                "another PostgreSQL listens where that of this stack would",
                expected=f"no other process in {socket}",
                found=f"process {other}",
                do=f"end it, if it is not needed: kill -INT {other}; then scripts/stack up",
            )
        lock.with_suffix("").unlink(missing_ok=True)
        lock.unlink()


def users(data: Path) -> list[psutil.Process]:
    """The processes of PostgreSQL that use the data directory `data`."""
    try:
        wanted = data.stat()
    except FileNotFoundError:
        return []
    processes = []
    for pid in psutil.pids():
        try:
            # Not Process.cwd(): a path is out of date once a folder above was renamed.
            here = os.stat(f"/proc/{pid}/cwd")  # noqa: PTH116
            if (here.st_dev, here.st_ino) == (wanted.st_dev, wanted.st_ino) and _is_postgres(pid):
                processes.append(psutil.Process(pid))
        except (OSError, psutil.NoSuchProcess):  # ended, or another user's, which cannot be at them
            continue
    return processes


def first_line(lock: Path) -> int | None:
    """The process id in a lock file of PostgreSQL; None if there is no file, or no id in it."""
    try:
        return int(lock.read_text(encoding="utf-8", errors="replace").split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _is_postgres(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False


def _damaged(data: Path, name: str, expected: str, found: str) -> MistakeError:
    return MistakeError(
        f"the data of the stack are damaged: {data / name}",
        expected=expected,
        found=found,
        do="put the folder back from a backup; or, to start anew and LOSE ALL DATA, "
        "scripts/stack down --volumes, then up",
    )
