"""Measures the memory, descriptors and threads of processes with their descendants."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Footprint:
    """What some trees of processes use at one moment."""

    pss_bytes: int
    processes: int
    threads: int
    descriptors: int


def tree(roots: Iterable[int]) -> list[psutil.Process]:
    """Return the processes `roots` with all their descendants."""
    processes: dict[int, psutil.Process] = {}
    for root in roots:
        try:
            process = psutil.Process(root)
            family = [process, *process.children(recursive=True)]
            processes |= {member.pid: member for member in family}
        except psutil.NoSuchProcess:
            continue
    return list(processes.values())


def footprint(roots: Iterable[int]) -> Footprint:
    """Return what the trees of `roots` use; a page that two processes share counts once in all."""
    pss = processes = threads = descriptors = 0
    for process in tree(roots):
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                processes += 1
                continue
            size = _pss_bytes(process.pid)
            fds, count = process.num_fds(), process.num_threads()
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            continue
        pss += size
        processes += 1
        threads += count
        descriptors += fds
    return Footprint(pss, processes, threads, descriptors)


def _pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)
