"""Prefect's process worker with its defaults."""

from __future__ import annotations

from benchmarks.prefect_contender import WorkerContender


class Stock(WorkerContender):
    """The process worker with the address and the login only."""

    name = "stock"
    title = "Prefect process worker, defaults"
    poll_seconds = 10
    options = ()

    def environment(self) -> dict[str, str]:
        """Return only what a Prefect client needs."""
        return self.ground.prefect()
