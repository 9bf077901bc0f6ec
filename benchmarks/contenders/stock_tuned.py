"""Prefect's process worker with what can be had by settings alone."""

from __future__ import annotations

from benchmarks.prefect_contender import WorkerContender


class StockTuned(WorkerContender):
    """Polls each second, and starts one interpreter for a run instead of two."""

    name = "stock-tuned"
    title = "Prefect process worker, tuned"
    job_variables = {"command": "python -m prefect.engine"}  # noqa: RUF012 - see the base class

    def environment(self) -> dict[str, str]:
        """As the stack gives it, whatever its own poll is."""
        return {**super().environment(), "PREFECT_WORKER_QUERY_SECONDS": "1"}
