"""Who is whose child: Linux's means to keep hold of a process that another one has forked."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

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
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else fields[19]


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
