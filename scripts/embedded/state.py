"""What the supervisor tells the commands: a small file, replaced whole at every change."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Literal

import tenacity
from pydantic import BaseModel

from server.errors import MistakeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.embedded.layout import Layout

Phase = Literal["starting", "running", "stopping", "failed"]


class ServiceState(BaseModel):
    """One process, as it was last seen."""

    name: str
    status: Literal["waiting", "starting", "running", "done", "stopped", "failed"] = "waiting"
    healthy: bool = False
    problem: str | None = None
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


def read(layout: Layout) -> StackState | None:
    """The last state; None where no supervisor has run since the stack was last put down.

    None too where the file is damaged, as after a power cut: the processes are found without it.

    Raises:
        MistakeError: the stack is another user's.
    """
    try:
        return StackState.model_validate_json(layout.state.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except PermissionError as error:
        raise MistakeError(
            f"the stack {layout.name} of this clone belongs to another user",
            expected="a stack of your own",
            found=str(error),
            do="type it as the user who started it",
        ) from error


def write(layout: Layout, state: StackState) -> None:
    """Replace the state, whole. Only its owner may read it: the fingerprint is of secrets too."""
    new = layout.state.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(state.model_dump_json(indent=1))
    new.replace(layout.state)


def alive(layout: Layout) -> bool:
    """Whether a supervisor has this stack: it holds the lock as long as it lives."""
    try:
        with layout.lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    return False


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Hold the stack's lock.

    Raises:
        BlockingIOError: another process holds it, and for longer than a look at it takes.
    """
    with layout.lock.open("ab") as file:
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
