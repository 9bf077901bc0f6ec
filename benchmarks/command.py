"""What `scripts/stack bench` does with its options."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from benchmarks import bench, table
from benchmarks import report as reports
from benchmarks.measures import Measure, Sizes
from scripts import report as console
from server.errors import MistakeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


def run(
    contenders: Sequence[str], measures: Sequence[str], sizes: tuple[int, int, int, int], to: Path
) -> None:
    """Measure; all contenders and all measures where none is named.

    Raises:
        MistakeError: a contender or a measure is not known.
        StackError: what all stand on did not start.
    """
    _check("contender", contenders, table.BY_NAME)
    _check("measure", measures, list(Measure))
    wanted = [Measure(each) for each in measures] or list(Measure)
    # As with Ctrl-C: what was started is stopped.
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda number, _frame: sys.exit(128 + number))
    bench.run(contenders, wanted, Sizes(*sizes), to)
    console.out.print(f"raw figures: {to}\nas a page:   scripts/stack bench --report {to}")


def report(source: Path) -> None:
    """Write the page of a run, with its chart and the raw figures.

    Raises:
        MistakeError: `source` is no file of raw figures.
    """
    for path in reports.write(source):
        console.out.print(f"written: {path}")


def _check(what: str, given: Sequence[str], known: Iterable[str]) -> None:
    names = list(known)
    for each in given:
        if each not in names:
            raise MistakeError(
                f"there is no {what} {each}",
                expected=f"one of {', '.join(names)}",
                found=each,
                do="scripts/stack bench --help",
            )
