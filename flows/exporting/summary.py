"""Summarizes an export by table."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from flows.exporting.dataset import Row


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the summary. Every field is a plain JSON value."""

    table: str
    env: str
    version: str
    rows: int
    first_date: str
    last_date: str
    amount: str
    """EUR, as text, since a float would lose cents."""


def summarize(rows: Iterable[Row]) -> list[Line]:
    """Return one line per table, environment and version, in alphabetical order."""
    groups: defaultdict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.table, row.env, row.version].append(row)
    return [
        Line(
            table=table,
            env=env,
            version=version,
            rows=len(group),
            first_date=min(row.date for row in group).isoformat(),
            last_date=max(row.date for row in group).isoformat(),
            amount=str(sum((row.amount for row in group), Decimal())),
        )
        for (table, env, version), group in sorted(groups.items())
    ]
