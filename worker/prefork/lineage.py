"""Who is whose child: Linux's means to keep hold of a process that another one has forked."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def supported() -> bool:
    """Whether this platform has them."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open")


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends.

    Raises:
        OSError: the kernel refuses.
    """
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(parent: int) -> bool:
    """Have this process get SIGTERM when its parent dies; False when it is not `parent` now."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    return os.getppid() == parent


def threads() -> int:
    """How many threads the kernel knows of in this process, Python's and others."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def started(pid: int) -> str | None:
    """When `pid` was started, in ticks since boot: with the pid, it names one process for ever."""
    fields = _stat(pid)
    return fields[19] if fields else None


def group_lives(group: int) -> bool:
    """Whether a process of the group is there and has not ended."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    # Those that have ended count for the kernel until they are waited for. The first is looked at
    # first: as long as it lives, the others need not be.
    return _group(group) == group or any(
        _group(int(path.name)) == group for path in Path("/proc").iterdir() if path.name.isdigit()
    )


def _group(pid: int) -> int | None:
    """The process group of a process that has not ended."""
    fields = _stat(pid)
    return int(fields[2]) if fields else None


def _stat(pid: int) -> list[str] | None:
    """What the kernel tells of a process that has not ended, from its state on."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else fields


class Strays:
    """Children that came to this process when their own parent ended, and that nobody waits for."""

    def __init__(self) -> None:
        """None seen yet."""
        self._seen: set[int] = set()

    def reap(self) -> None:
        """Take away what was dead at the last call too: who waits for a child does so at once."""
        dead = {each.pid for each in psutil.Process().children() if _is_dead(each)}
        for pid in dead & self._seen:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._seen = dead - self._seen


def _is_dead(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
