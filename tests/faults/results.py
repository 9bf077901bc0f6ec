"""Keeps what the suite has measured, a line for each fault, in one JSON file."""

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
    """Return the commit that is tested; empty outside a checkout."""
    argv = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    described = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=ROOT)
    return described.stdout.strip()


class Row(BaseModel):
    """The result of one fault."""

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
    """The results of all faults, and the machine that they were measured on."""

    machine: str = Field(
        default_factory=lambda: f"{os.cpu_count()} cores, Linux {platform.release()}"
    )
    note: str = ""  # what a reader has to know about these results; the next one removes it
    rows: list[Row] = []


def read(path: Path) -> Results:
    """Return the results in a file; none if there is no file yet."""
    return Results.model_validate_json(path.read_text()) if path.exists() else Results()


def add(path: Path, row: Row) -> None:
    """Add the result of a test to a file, in place of its earlier one."""
    results = Results(rows=read(path).rows)
    results.rows = [each for each in results.rows if each.test != row.test] + [row]
    results.rows.sort(key=lambda each: (min(each.promises), each.test))
    path.write_text(results.model_dump_json(indent=1) + "\n")
