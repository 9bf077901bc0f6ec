"""Finds and ends the processes of a stack whose supervisor is gone."""

from __future__ import annotations

import itertools
import os
import signal
from typing import TYPE_CHECKING

import psutil

from server.errors import StackError
from server.services import worker

if TYPE_CHECKING:
    from scripts.backends.embedded.cluster import Cluster
    from scripts.backends.embedded.layout import Layout

# In the environment of every process of a stack, and so of all that they start.
MARKER = "STACK_SUPERVISED"
GRACE_SECONDS = 10
ROUNDS = 3  # what is found may start another before it ends


def find(layout: Layout, cluster: Cluster) -> list[psutil.Process]:
    """Every process that the stack's supervisor or its children started, except this one."""
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and belongs(process, layout, cluster)
    ]


def belongs(process: psutil.Process, layout: Layout, cluster: Cluster) -> bool:
    """Whether a process belongs to the stack: by its mark, or, for PostgreSQL, by its folder.

    PostgreSQL writes its titles over its environment. Its postmaster names the data directory; its
    children, which outlive a postmaster that was killed for a moment and keep the next one from
    starting, stand in it.
    """
    data = str(cluster.data)
    try:
        if process.environ().get(MARKER) == str(layout.base):
            return True
        return process.name() == "postgres" and (
            process.cwd() == data or (process.pid == cluster.pid and data in process.cmdline())
        )
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False


def end_all(layout: Layout, cluster: Cluster) -> int:
    """End every process of the stack; return, when all are gone, how many there were.

    The worker comes first, while the server still answers: its runs finish, as with `down`.

    Raises:
        StackError: one of them does not end, whatever it is sent.
    """
    ended = _end_workers(find(layout, cluster))
    for _ in range(ROUNDS):
        found = find(layout, cluster)
        if not found:
            return len(ended)
        ended |= {process.pid for process in found}
        end(found)
    left = find(layout, cluster)
    if not left:
        return len(ended)
    pids = " ".join(str(process.pid) for process in left)
    raise StackError(
        "processes that the stack has left do not end",
        expected="their end after SIGKILL",
        found=f"process {pids}",
        do=f"find out what they wait for, a disk for example: ps -o pid,stat,wchan,args -p {pids}; "
        "then type the same command again",
    )


def end(found: list[psutil.Process]) -> None:
    """Ask every process to end, then make those end that did not."""
    for process in found:
        _signal(process, hard=False)
    _, alive = psutil.wait_procs(found, timeout=GRACE_SECONDS)
    for process in alive:
        _signal(process, hard=True)
    psutil.wait_procs(alive, timeout=GRACE_SECONDS)


def _end_workers(found: list[psutil.Process]) -> set[int]:
    """Have the workers among `found` stop, and wait for them; which processes have ended by then.

    A worker that has been told to stand still hears nothing.
    """
    pids = {process.pid for process in found}
    workers = [each for each in found if _is_worker(each, pids)]
    for each in workers:
        _signal(each, hard=False)
    psutil.wait_procs(workers, timeout=worker.SERVICE.grace_seconds)
    return {process.pid for process in found if not process.is_running()}


def _is_worker(process: psutil.Process, pids: set[int]) -> bool:
    """Whether it is a worker that goes on, and not what a run of one has started."""
    try:
        words = process.cmdline()
        stands_still = process.status() == psutil.STATUS_STOPPED
        return ("worker", "start") in itertools.pairwise(words) and (
            process.ppid() not in pids and not stands_still
        )
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, *, hard: bool) -> None:
    try:
        if hard:
            process.kill()
        elif process.name() != "postgres":
            process.terminate()
        elif not _titled(process):
            process.send_signal(signal.SIGINT)  # its fast shutdown: waits for nobody
    except psutil.NoSuchProcess:
        return


def _titled(process: psutil.Process) -> bool:
    """Whether it is a child of a postmaster, which ends its children itself.

    One of them takes the signal of a fast shutdown for the order to write the last checkpoint, too
    early.
    """
    return "".join(process.cmdline()[:1]).startswith("postgres: ")
