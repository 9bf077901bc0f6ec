"""What the supervisor tells the commands: a small file, replaced whole at every change."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import psutil
from pydantic import BaseModel

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
    pid_created: float  # tells our process from a later one of the same number
    fingerprint: str
    phase: Phase
    services: list[ServiceState]
    error: str | None = None
    exit_code: int = 0

    @property
    def alive(self) -> bool:
        """Whether the supervisor that wrote this still lives."""
        try:
            process = psutil.Process(self.pid)
            # In a container without an init, a process that was killed stays there as a zombie.
            ended = process.status() == psutil.STATUS_ZOMBIE
            return process.create_time() == self.pid_created and not ended
        except psutil.NoSuchProcess:
            return False


def read(layout: Layout) -> StackState | None:
    """The last state; None where no supervisor has run since the stack was last put down."""
    try:
        return StackState.model_validate_json(layout.state.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(layout: Layout, state: StackState) -> None:
    """Replace the state, whole."""
    new = layout.state.with_suffix(".new")
    new.write_text(state.model_dump_json(indent=1))
    new.replace(layout.state)


@contextmanager
def locked(layout: Layout) -> Iterator[bool]:
    """Hold the stack's lock; False when another process holds it."""
    with layout.lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
