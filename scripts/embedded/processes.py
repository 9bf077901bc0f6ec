"""Finds and ends the processes of a stack whose supervisor is gone."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from scripts.embedded.cluster import Cluster
    from scripts.embedded.layout import Layout

# In the environment of every process of a stack, and so of all that they start.
MARKER = "STACK_SUPERVISED"
GRACE_SECONDS = 10


def find(layout: Layout, cluster: Cluster) -> list[psutil.Process]:
    """Every process that the stack's supervisor, or a child of it, has started; not ourselves."""
    found = []
    postgres = cluster.pid
    for process in psutil.process_iter():
        try:
            marked = process.environ().get(MARKER) == str(layout.base)
            # PostgreSQL writes its titles over its environment; its data directory names it.
            ours = process.pid == postgres and str(cluster.data) in process.cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if (marked or ours) and process.pid != os.getpid():
            found.append(process)
    return found


def end(found: list[psutil.Process]) -> None:
    """Ask every process to end, then make those end that did not."""
    for process in found:
        _signal(process, hard=False)
    _, alive = psutil.wait_procs(found, timeout=GRACE_SECONDS)
    for process in alive:
        _signal(process, hard=True)
    psutil.wait_procs(alive, timeout=GRACE_SECONDS)


def _signal(process: psutil.Process, *, hard: bool) -> None:
    try:
        if hard:
            process.kill()
        elif process.name() == "postgres":
            process.send_signal(signal.SIGINT)  # its fast shutdown: waits for nobody
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        return
