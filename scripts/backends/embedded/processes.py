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

# Set in the environment of every process of a stack, so that whatever they start inherits it.
MARKER = "STACK_SUPERVISED"
GRACE_SECONDS = 10
ROUNDS = 3  # a process may start another one before it ends


def find(layout: Layout, cluster: Cluster) -> list[psutil.Process]:
    """Every process that the stack's supervisor or its children started, except this one."""
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and belongs(process, layout, cluster)
    ]


def belongs(process: psutil.Process, layout: Layout, cluster: Cluster) -> bool:
    """Whether a process belongs to the stack: by `MARKER`, or for PostgreSQL by its data directory.

    PostgreSQL overwrites its environment with its process titles. The postmaster has the data
    directory on its command line. Its children, which for a moment outlive a killed postmaster and
    keep the next one from starting, have it as their working directory.
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
    """End every process of the stack; return how many there were, once all are gone.

    Workers come first, while the server still answers, so that runs can finish as with `down`.

    Raises:
        StackError: one of them survives SIGKILL.
    """
    ended = _end_workers(find(layout, cluster))
    for _ in range(ROUNDS):
        running = find(layout, cluster)
        if not running:
            return len(ended)
        ended |= {process.pid for process in running}
        end(running)
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


def end(running: list[psutil.Process]) -> None:
    """Ask every process to end, and kill those that have not after `GRACE_SECONDS`."""
    for process in running:
        _signal(process, hard=False)
    _, alive = psutil.wait_procs(running, timeout=GRACE_SECONDS)
    for process in alive:
        _signal(process, hard=True)
    psutil.wait_procs(alive, timeout=GRACE_SECONDS)


def _end_workers(running: list[psutil.Process]) -> set[int]:
    """Stop the workers among `running` and wait for them; return the ids of what has ended then."""
    pids = {process.pid for process in running}
    workers = [process for process in running if _is_worker(process, pids)]
    for process in workers:
        _signal(process, hard=False)
    psutil.wait_procs(workers, timeout=worker.SERVICE.grace_seconds)
    return {process.pid for process in running if not process.is_running()}


def _is_worker(process: psutil.Process, pids: set[int]) -> bool:
    """Whether it is a worker of the stack itself, not one that a flow has started.

    A worker that SIGSTOP has halted does not count: it would not handle the signal.
    """
    try:
        words = process.cmdline()
        halted = process.status() == psutil.STATUS_STOPPED
        return ("worker", "start") in itertools.pairwise(words) and (
            process.ppid() not in pids and not halted
        )
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, *, hard: bool) -> None:
    try:
        if hard:
            process.kill()
        elif process.name() != "postgres":
            process.terminate()
        elif not _is_postgres_child(process):
            process.send_signal(signal.SIGINT)  # fast shutdown, which does not wait for clients
    except psutil.NoSuchProcess:
        return


def _is_postgres_child(process: psutil.Process) -> bool:
    """Whether it is a child of a postmaster, by its process title.

    The postmaster ends its children itself. The checkpointer would take SIGINT for the order to
    write the last checkpoint, too early.
    """
    return "".join(process.cmdline()[:1]).startswith("postgres: ")
