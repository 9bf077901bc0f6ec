"""The stack's own worker."""

from __future__ import annotations

from benchmarks.prefect_contender import WorkerContender


class Prefork(WorkerContender):
    """The worker that forks each run from a process with everything imported."""

    name = "prefork"
    title = "prefork (this stack)"
    worker_type = "prefork"
