"""The stack's own worker."""

from __future__ import annotations

from benchmarks.prefect_contender import WorkerContender


class Prefork(WorkerContender):
    """Forks from a process that has everything imported."""

    name = "prefork"
    title = "prefork (this stack)"
    worker_type = "prefork"
