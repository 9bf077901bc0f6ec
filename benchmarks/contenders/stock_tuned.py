"""Prefect's process worker, made as fast as settings alone can make it."""

from __future__ import annotations

from benchmarks.prefect_contender import WorkerContender


class StockTuned(WorkerContender):
    """The process worker, polling every second and starting one interpreter per run, not two."""

    name = "stock-tuned"
    title = "Prefect process worker, tuned"
    job_variables = {"command": "python -m prefect.engine"}  # noqa: RUF012 - see the base class

    def environment(self) -> dict[str, str]:
        """Return the environment of the stack's worker, but with a poll every second."""
        return {**super().environment(), "PREFECT_WORKER_QUERY_SECONDS": "1"}
