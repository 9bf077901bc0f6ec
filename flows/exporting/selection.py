"""Which rows of the dataset an export is about."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from flows.exporting.dataset import Row

LATEST = "latest"


@dataclass(frozen=True, slots=True)
class Selection:
    """What was asked for. Raises ValueError when `min_date` is after `max_date`.

    `select` and `exclude` are comma-separated shell patterns over table names. Absent or empty,
    they select every table and exclude none.
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
        """The rows asked for, in their order.

        Raises ValueError when `version` is not in `rows`, or a pattern in `select` matches none of
        their tables. A table counts when any version or environment has it, so that what may be
        asked for does not depend on how far an environment has got.
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
    """The version that `wanted` names, where `latest` is the highest: 1.10 comes after 1.9."""
    versions = sorted({row.version for row in rows}, key=_numbers)
    if wanted == LATEST:
        return versions[-1]
    if wanted not in versions:
        raise ValueError(
            f"version: expected one of {', '.join([LATEST, *versions])}, found {wanted!r}"
        )
    return wanted


def find_tables(select: str | None, exclude: str | None, rows: Iterable[Row]) -> frozenset[str]:
    """The tables that a pattern of `select` matches and none of `exclude` does."""
    tables = sorted({row.table for row in rows})
    selected = _patterns(select) or ("*",)
    excluded = _patterns(exclude)
    strays = [pattern for pattern in selected if not any(fnmatchcase(t, pattern) for t in tables)]
    if strays:
        raise ValueError(
            f"select: expected patterns that match some of {', '.join(tables)}; "
            f"found none for {', '.join(strays)}"
        )
    return frozenset(t for t in tables if _matches(t, selected) and not _matches(t, excluded))


def _patterns(text: str | None) -> tuple[str, ...]:
    return tuple(stripped for part in (text or "").split(",") if (stripped := part.strip()))


def _matches(table: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(table, pattern) for pattern in patterns)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
