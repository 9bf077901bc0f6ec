"""The columns of the tables: a title and a unit for each measure, and the median per contender."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.results import Results

MEGABYTE = 2**20


@dataclass(frozen=True)
class Column:
    """How the tables present a measure."""

    measure: str
    title: str
    unit: str
    explained: str
    divisor: float = 1
    more_is_better: bool = False

    def values(self, results: Results, name: str) -> list[float]:
        """Return all values of a contender, in the unit of the column."""
        return [value / self.divisor for value in results.values(name, self.measure)]

    def median(self, results: Results, name: str) -> float | None:
        """Return the median of a contender; None if it was not measured."""
        values = self.values(results, name)
        return statistics.median(values) if values else None

    def names(self, results: Results) -> list[str]:
        """Return the contenders that were measured."""
        return [name for name in results.titles if results.values(name, self.measure)]

    def better(self, one: float, other: float) -> bool:
        """Return whether `one` is better than `other`."""
        return one > other if self.more_is_better else one < other


START = Column(
    "start",
    "start",
    "s",
    "From the creation of a run on an idle stack to the first line of its job.",
)
BURST = Column(
    "burst",
    "burst",
    "runs/min",
    "No-op runs created at once, from the creation of the first to the completion of the last.",
    more_is_better=True,
)
COLUMNS = (
    START,
    BURST,
    Column(
        "steps-light",
        "40 x fib(10)",
        "s",
        "One run of 40 small steps in sequence: from creation to completion, pick-up included.",
    ),
    Column(
        "steps-heavy",
        "10 x fib(33)",
        "s",
        "One run of 10 steps that compute: from creation to completion, pick-up included.",
    ),
    Column(
        "ready",
        "ready",
        "s",
        "From the start of the worker's process to the first line of a run that waits for it.",
    ),
    Column(
        "memory-idle",
        "idle",
        "MB",
        "PSS of the worker's processes without a run. PSS counts each shared page once in total.",
        MEGABYTE,
    ),
    Column(
        "memory-run", "per run", "MB", "How much each of five running jobs adds to that.", MEGABYTE
    ),
    Column(
        "memory-server",
        "its server",
        "MB",
        "PSS at rest of the processes that accept runs: API server, web server, DAG processor, "
        "code server; without PostgreSQL.",
        MEGABYTE,
    ),
)


def shown(value: float) -> str:
    """Return `value` with three significant digits, as far as they follow the decimal point."""
    for digits, limit in ((0, 100), (1, 10), (2, 0)):
        if abs(value) >= limit:
            return f"{value:.{digits}f}"
    raise AssertionError(value)
