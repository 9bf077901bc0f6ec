"""The measures as the tables show them: a title, a unit, and the median of each contender."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.results import Results

MEGABYTE = 2**20


@dataclass(frozen=True)
class Column:
    """How the tables show a measure."""

    measure: str
    title: str
    unit: str
    explained: str
    divisor: float = 1
    more_is_better: bool = False

    def values(self, results: Results, name: str) -> list[float]:
        """All that a contender gave, in the unit of the column."""
        return [each / self.divisor for each in results.values(name, self.measure)]

    def median(self, results: Results, name: str) -> float | None:
        """Of a contender that was measured."""
        values = self.values(results, name)
        return statistics.median(values) if values else None

    def names(self, results: Results) -> list[str]:
        """Who was measured."""
        return [name for name in results.titles if results.values(name, self.measure)]

    def better(self, one: float, other: float) -> bool:
        """Whether `one` is the better value."""
        return one > other if self.more_is_better else one < other


START = Column(
    "start", "start", "s", "A run is created on an idle stack → the first line of its job."
)
BURST = Column(
    "burst",
    "burst",
    "runs/min",
    "No-op runs created at once, from the first creation until the last is complete.",
    more_is_better=True,
)
COLUMNS = (
    START,
    BURST,
    Column(
        "steps-light",
        "40 x fib(10)",
        "s",
        "One run of 40 small steps, one after the other: created → complete, pick-up included.",
    ),
    Column(
        "steps-heavy",
        "10 x fib(33)",
        "s",
        "One run of 10 steps that compute: created → complete, pick-up included.",
    ),
    Column("ready", "ready", "s", "The worker's process is started → first line of a waiting run."),
    Column(
        "memory-idle",
        "idle",
        "MB",
        "PSS of the worker's processes without a run. PSS counts a shared page once in all.",
        MEGABYTE,
    ),
    Column("memory-run", "per run", "MB", "What each of five running jobs adds to that.", MEGABYTE),
    Column(
        "memory-server",
        "its server",
        "MB",
        "PSS at rest of what takes the orders: API server, web server, DAG processor, code server; "
        "not PostgreSQL.",
        MEGABYTE,
    ),
)


def shown(value: float) -> str:
    """Three digits that count."""
    for digits, limit in ((0, 100), (1, 10), (2, 0)):
        if abs(value) >= limit:
            return f"{value:.{digits}f}"
    raise AssertionError(value)
