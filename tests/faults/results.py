"""The measured lines of a run of the suite, in one JSON file."""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

ROOT = Path(__file__).resolve().parents[2]


def _commit() -> str:
    """The commit that is tried; empty outside of a checkout."""
    argv = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    found = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=ROOT)
    return found.stdout.strip()


class Row(BaseModel):
    """One fault that was tried."""

    test: str
    fault: str
    promises: list[int]
    bound: str
    outcome: Literal["held", "did not hold", "not tried"]
    why: str = ""
    measured: dict[str, int | float | str] = {}
    taken: str = Field(
        default_factory=lambda: dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    )
    commit: str = Field(default_factory=_commit)
    load: float = Field(default_factory=lambda: round(os.getloadavg()[0], 1))


class Results(BaseModel):
    """All lines, and the machine."""

    machine: str = Field(
        default_factory=lambda: f"{os.cpu_count()} cores, Linux {platform.release()}"
    )
    note: str = ""  # what a reader has to know of these lines; gone with the next one
    rows: list[Row] = []


def read(path: Path) -> Results:
    """The lines that there are; none where there is no file yet."""
    return Results.model_validate_json(path.read_text()) if path.exists() else Results()


def add(path: Path, row: Row) -> None:
    """Put a line in, in place of an earlier one of the same test."""
    found = Results(rows=read(path).rows)
    found.rows = [each for each in found.rows if each.test != row.test] + [row]
    found.rows.sort(key=lambda each: (min(each.promises), each.test))
    path.write_text(found.model_dump_json(indent=1) + "\n")
