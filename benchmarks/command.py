"""The command `scripts/stack bench`."""

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
    """Measure; if no contender or no measure is named, take all of them.

    Raises:
        MistakeError: A contender or a measure is not known.
        StackError: The database or the Prefect server did not start.
    """
    _check("contender", contenders, table.BY_NAME)
    _check("measure", measures, list(Measure))
    wanted = [Measure(each) for each in measures] or list(Measure)
    # As with Ctrl-C, stop what was started.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    bench.run(contenders, wanted, Sizes(*sizes), to)
    console.out.print(f"raw figures: {to}\nas a page:   scripts/stack bench --report {to}")


def report(source: Path) -> None:
    """Write the page of a run, with its chart and the raw figures.

    Raises:
        MistakeError: `source` is not a file of raw figures.
    """
    for path in reports.write(source):
        console.out.print(f"written: {path}")


def _check(what: str, given: Sequence[str], known: Iterable[str]) -> None:
    names = list(known)
    for name in given:
        if name not in names:
            raise MistakeError(
                f"there is no {what} {name}",
                expected=f"one of {', '.join(names)}",
                found=name,
                do="scripts/stack bench --help",
            )
