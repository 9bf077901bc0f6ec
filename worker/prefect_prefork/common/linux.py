"""Linux primitives for adopted processes: subreaper, parent-death signal, process groups."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
# Indexes of the fields of /proc/PID/stat after the name of the process, and values of the first.
STATE, PARENT, GROUP, START_TIME = 0, 1, 2, 19
ZOMBIE, DEAD = "Z", "X"


def supported() -> bool:
    """Return whether this platform has these primitives."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open")


def adopt_orphans() -> None:
    """Make this process the new parent of every descendant whose own parent ends.

    Raises:
        OSError: the kernel refuses.
    """
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(parent: int) -> bool:
    """Make the kernel send SIGTERM to this process when its parent dies.

    Return False if its parent is no longer `parent`, which may have died before the call.
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    return os.getppid() == parent


def threads() -> int:
    """Return the number of threads of this process, including those that Python does not know."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def started(pid: int) -> str | None:
    """Return when `pid` was started, in ticks since boot; None if it has ended.

    Together with the pid, the time identifies a process for good.
    """
    stat = _stat(pid)
    return stat[START_TIME] if stat and _lives(stat) else None


def group_lives(group: int) -> bool:
    """Return whether any process of the group `group` has not ended."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    # The kernel also counts zombies. Look at the leader first: while it lives, there is no need to
    # look at the others.
    return _in_group(group, _stat(group)) or any(_in_group(group, stat) for _, stat in _processes())


class Strays:
    """Reaps adopted children that have ended, and that nobody waits for."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def reap(self) -> None:
        """Reap the children that were already zombies at the last call.

        A child that somebody waits for is reaped at once, so it is not a zombie at two calls.
        """
        own = str(os.getpid())
        dead = {pid for pid, stat in _processes() if stat[PARENT] == own and stat[STATE] == ZOMBIE}
        for pid in dead & self._seen:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._seen = dead - self._seen


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Yield the pid and the `_stat` of each visible process."""
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and (stat := _stat(int(path.name))):
            yield int(path.name), stat


def _in_group(group: int, stat: list[str] | None) -> bool:
    return bool(stat and _lives(stat) and int(stat[GROUP]) == group)


def _lives(stat: list[str]) -> bool:
    return stat[STATE] not in {ZOMBIE, DEAD}


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on; None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
