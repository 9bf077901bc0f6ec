"""Describes what the figures depend on: the machine, and the versions that contenders share."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from server.settings import ROOT

if TYPE_CHECKING:
    from benchmarks.ground import Ground


def describe(ground: Ground) -> dict[str, str]:
    """Return the machine, its load, and the versions of what runs on it, each by its name."""
    return {
        "commit of this stack": commit(),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "load average": load(),
        "Python": platform.python_version(),
        "PostgreSQL": str(ground.query("postgres", "show server_version")[0][0]),
        "Prefect server": importlib.metadata.version("prefect"),
        "clock offset": f"{ground.clock_offset_seconds() * 1000:.2f} ms",
    }


def commit() -> str:
    """Return the commit that is checked out, with `-dirty` if files differ from it."""
    argv = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):  # an archive of the sources, or no git
        return "not known"
    return done.stdout.strip()


def load() -> str:
    """Return the load average of the last minute."""
    return f"{os.getloadavg()[0]:.2f}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
