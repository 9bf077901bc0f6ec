"""Prefect's process worker as it comes."""

from __future__ import annotations

from benchmarks.prefect_contender import WorkerContender


class Stock(WorkerContender):
    """No setting but the address and the login."""

    name = "stock"
    title = "Prefect process worker, defaults"
    poll_seconds = 10
    options = ()

    def environment(self) -> dict[str, str]:
        """What a client needs."""
        return self.ground.prefect()
