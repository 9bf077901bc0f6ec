"""The state of a supervisor, in a small file that it replaces every few seconds for the commands.

After a power cut, or while the disk is full, the file may be damaged or out of date. So whether a
supervisor is alive is told by a lock, which the kernel releases when the supervisor ends.
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
    """One process, as the supervisor last saw it. It is `running` from its first good check on."""

    name: str
    status: Literal["waiting", "starting", "running", "done", "stopped", "failed"] = "waiting"
    healthy: bool = False  # steadily: see `Service`
    problem: str | None = None
    exit_code: int = 0  # of a one-shot that failed
    pid: int | None = None
    restarts: int = 0
    seconds: float | None = None  # from its start until it was running or had ended


class StackState(BaseModel):
    """The whole stack."""

    pid: int
    fingerprint: str  # of the settings that the stack was started with
    phase: Phase
    services: list[ServiceState]
    error: str | None = None
    exit_code: int = 0
    written_at: float = 0.0  # on the monotonic clock, which all processes of a machine share

    @property
    def age_seconds(self) -> float:
        """How long ago the supervisor wrote the state."""
        return time.monotonic() - self.written_at


def read(layout: Layout) -> StackState | None:
    """Return the last state; None if there is none or it is damaged (see `damaged`).

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
    """Whether the file cannot be read. A supervisor that is alive soon replaces it."""
    return read(layout) is None and os.path.lexists(layout.state)


def write(layout: Layout, state: StackState) -> None:
    """Replace the state atomically. Only its owner may read it: the hash covers secrets too.

    Raises:
        OSError: it cannot be written, as on a full disk; the previous state stays.
    """
    state.written_at = time.monotonic()
    replace(layout.state, state)


def replace(path: Path, model: BaseModel) -> None:
    """Write `model` to a file that only its owner may read, which is never seen half written.

    Raises:
        OSError: it cannot be written; the previous file stays.
    """
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(model.model_dump_json(indent=1))
    new.replace(path)


def alive(layout: Layout) -> bool:
    """Whether a supervisor runs this stack, which holds the lock as long as it is alive.

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
    """The id of the process that holds the lock, according to the kernel; None if unknown."""
    try:
        inode = layout.lock.stat().st_ino
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    holders = {}
    for line in locks:  # 1: FLOCK  ADVISORY  WRITE 4242 fd:01:1234567 0 EOF
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
            holders[fields[3]] = int(fields[4])
    # `alive` takes a READ lock for a moment, so a supervisor's WRITE lock is preferred.
    return holders.get("WRITE", holders.get("READ"))


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Hold the stack's lock during the block.

    The file has mode 0600, since another user who could open it could hold it for ever.

    Raises:
        BlockingIOError: another process holds it for longer than `alive` does.
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
        return  # the stack is this user's; only the mode of the file was changed
    raise MistakeError(
        f"the stack {layout.name} of this clone belongs to another user",
        expected="a stack of your own",
        found=str(error),
        do="type it as the user who started it",
    ) from error
