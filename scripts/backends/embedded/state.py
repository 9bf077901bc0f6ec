"""The supervisor's state for the commands: a small file, replaced as a whole every few seconds.

The file may be damaged or out of date, after a power cut or while the disk is full. Whether a
supervisor is alive is therefore told by a lock that the kernel releases when it ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import tenacity
from pydantic import BaseModel

from server.errors import MistakeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.backends.embedded.layout import Layout

Phase = Literal["starting", "running", "stopping", "failed"]


class ServiceState(BaseModel):
    """One process, as it was last seen. `running` from its first good answer to its end."""

    name: str
    status: Literal["waiting", "starting", "running", "done", "stopped", "failed"] = "waiting"
    healthy: bool = False  # steadily: see `Service`
    problem: str | None = None
    exit_code: int = 0  # of a one-shot that failed
    pid: int | None = None
    restarts: int = 0
    seconds: float | None = None  # from its start to its health or its end


class StackState(BaseModel):
    """The whole stack. `fingerprint` changes with the settings it was started with."""

    pid: int
    fingerprint: str
    phase: Phase
    services: list[ServiceState]
    error: str | None = None
    exit_code: int = 0
    written_at: float = 0.0  # on the monotonic clock, which all processes of a machine share

    @property
    def age_seconds(self) -> float:
        """How long ago the supervisor wrote it."""
        return time.monotonic() - self.written_at


def read(layout: Layout) -> StackState | None:
    """The last state; None where there is none, or where it is damaged (see `damaged`).

    Raises:
        MistakeError: the stack is another user's.
    """
    try:
        return StackState.model_validate_json(layout.state.read_text())
    except PermissionError as error:
        _refuse_another_users(layout, error)
        return None
    except (OSError, ValueError):
        return None


def damaged(layout: Layout) -> bool:
    """Whether there is a state that cannot be read. The supervisor, if it lives, replaces it."""
    return read(layout) is None and os.path.lexists(layout.state)


def write(layout: Layout, state: StackState) -> None:
    """Replace the state, whole. Only its owner may read it: the fingerprint is of secrets too.

    Raises:
        OSError: it cannot be written, as on a full disk; the state that was there stays.
    """
    state.written_at = time.monotonic()
    replace(layout.state, state)


def replace(path: Path, model: BaseModel) -> None:
    """Write `model` to a file that only its owner may read, so that it is never seen half written.

    Raises:
        OSError: it cannot be written; the file that was there stays.
    """
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(model.model_dump_json(indent=1))
    new.replace(path)


def alive(layout: Layout) -> bool:
    """Whether a supervisor runs this stack: it holds the lock as long as it lives.

    Raises:
        MistakeError: the stack is another user's.
    """
    try:
        with layout.lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except PermissionError as error:
        _refuse_another_users(layout, error)
    except OSError:
        return False
    return False


def holder(layout: Layout) -> int | None:
    """The process that holds the lock, according to the kernel; None if it does not say."""
    try:
        inode = layout.lock.stat().st_ino
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    found = {}
    for line in locks:  # 1: FLOCK  ADVISORY  WRITE 4242 fd:01:1234567 0 EOF
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
            found[fields[3]] = int(fields[4])
    return found.get("WRITE", found.get("READ"))  # a command that looks at it reads for a moment


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Hold the stack's lock, which other users cannot open: one of them could hold it for ever.

    Raises:
        BlockingIOError: another process holds it, and for longer than a look at it takes.
    """
    with layout.lock.open("ab") as file:
        os.fchmod(file.fileno(), 0o600)
        _lock(file)
        yield


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(BlockingIOError),
    wait=tenacity.wait_fixed(0.1),
    stop=tenacity.stop_after_delay(2),
    reraise=True,
)
def _lock(file: BinaryIO) -> None:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _refuse_another_users(layout: Layout, error: PermissionError) -> None:
    if layout.base.exists() and layout.base.stat().st_uid == os.geteuid():
        return  # only the mode of the file was changed: it is damaged, but ours
    raise MistakeError(
        f"the stack {layout.name} of this clone belongs to another user",
        expected="a stack of your own",
        found=str(error),
        do="type it as the user who started it",
    ) from error
