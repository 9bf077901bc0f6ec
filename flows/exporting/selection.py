"""Selects the rows of an export."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from flows.exporting.dataset import Row

LATEST = "latest"


@dataclass(frozen=True, slots=True)
class Selection:
    """The criteria for the rows of an export.

    `select` and `exclude` are comma-separated shell patterns for the names of tables. If they are
    None or empty, every table is selected and none is excluded.

    Raises:
        ValueError: `min_date` is after `max_date`.
    """

    env: str
    select: str | None = None
    exclude: str | None = None
    min_date: dt.date | None = None
    max_date: dt.date | None = None
    version: str = LATEST

    def __post_init__(self) -> None:
        if self.min_date and self.max_date and self.min_date > self.max_date:
            raise ValueError(
                f"min_date: expected a day up to max_date={self.max_date}, found {self.min_date}"
            )

    def of(self, rows: Sequence[Row]) -> tuple[Row, ...]:
        """Return the matching rows, in their order.

        A pattern may match a table of any version or environment, so that the same patterns are
        valid in all environments.

        Raises:
            ValueError: `version` is not in `rows`, or a pattern in `select` matches no table.
        """
        version = find_version(self.version, rows)
        tables = find_tables(self.select, self.exclude, rows)
        return tuple(
            row
            for row in rows
            if row.version == version
            and row.env == self.env
            and row.table in tables
            and (self.min_date is None or self.min_date <= row.date)
            and (self.max_date is None or row.date <= self.max_date)
        )


def find_version(wanted: str, rows: Iterable[Row]) -> str:
    """Return the version `wanted`, or the highest if it is `latest`; 1.10 is higher than 1.9.

    Raises:
        ValueError: No row has this version.
    """
    versions = sorted({row.version for row in rows}, key=_numbers)
    if wanted == LATEST:
        return versions[-1]
    if wanted not in versions:
        raise ValueError(
            f"version: expected one of {', '.join([LATEST, *versions])}, found {wanted!r}"
        )
    return wanted


def find_tables(select: str | None, exclude: str | None, rows: Iterable[Row]) -> frozenset[str]:
    """Return the tables that match a pattern in `select` and none in `exclude`.

    Raises:
        ValueError: A pattern in `select` matches no table.
    """
    tables = sorted({row.table for row in rows})
    selected = _patterns(select) or ("*",)
    excluded = _patterns(exclude)
    unmatched = [
        pattern for pattern in selected if not any(fnmatchcase(t, pattern) for t in tables)
    ]
    if unmatched:
        raise ValueError(
            f"select: expected patterns that match some of {', '.join(tables)}; "
            f"found none for {', '.join(unmatched)}"
        )
    return frozenset(t for t in tables if _matches(t, selected) and not _matches(t, excluded))


def _patterns(text: str | None) -> tuple[str, ...]:
    return tuple(stripped for part in (text or "").split(",") if (stripped := part.strip()))


def _matches(table: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(table, pattern) for pattern in patterns)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
