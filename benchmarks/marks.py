"""The first lines of jobs that are not Prefect's, which they write into a table: `jobs/work.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.ground import Ground


def first_lines(ground: Ground, keys: Sequence[str]) -> dict[str, float]:
    """When the first line of each run was; a run that has not come to it is left out."""
    return dict(
        ground.query("marks", "select key, at from mark where key = any(%s)", (list(keys),))
    )
