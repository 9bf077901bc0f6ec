"""Writes `docs/reliability.md` from the results of the suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.promises import PROMISES
from tests.faults.results import read

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.results import Results, Row

OPENING = """\
# What is promised to a run

Written by `scripts/stack test faults` from what it has measured; every figure is in
[reliability.json](reliability.json). Each promise has a number, which the tables below name.
"""
MEASURED = """\
## What was measured

While each fault goes on, 40 to 200 runs are created with idempotency keys; some hold a slot of a
global limit, some are of a deployment with a limit. Each run notes its beginning and its end in a
file outside the stack: what was executed twice shows there, and so does work that was done and is
called Failed.
"""
LEFT_OUT = """\
## Left out

- Without Docker, worker and server talk over loopback, whose faults would be those of all that runs
  on the machine: there a second worker is tried, with a relay between it and the server.
- A clock that jumps is tried without Docker only: containers have the clock of their machine.
- A disk that lies about what it has written, a kernel that panics and a file system that is damaged
  are not tried.
"""
NOT_HELD = "Not every promise held in this run:"


def write(source: Path) -> Path:
    """Write the page beside `source`; return its path."""
    page = source.with_suffix(".md")
    page.write_text(render(read(source)))
    return page


def render(results: Results) -> str:
    """Return the text of the page."""
    promises = [f"{number}. {text}" for number, text in PROMISES.items()]
    tried = [each for each in results.rows if each.outcome != "not tried"]
    lines = [
        *(OPENING, *promises, "", MEASURED),
        f"Measured on {results.machine}, {_days(results.rows)}, {_loads(results.rows)}.",
        *(["", results.note] if results.note else []),
        "",
        "| promise | fault | bound | held | measured | commit |",
        "|---|---|---|---|---|---|",
        *map(_line, tried),
        "",
        *_reasons(NOT_HELD, results.rows, "did not hold"),
        *_reasons("## Not tried", results.rows, "not tried"),
        LEFT_OUT,
    ]
    return "\n".join(lines).rstrip() + "\n"


def _line(row: Row) -> str:
    numbers = ", ".join(map(str, row.promises))
    values = "; ".join(f"{name} {value}" for name, value in row.measured.items())
    held = "yes" if row.outcome == "held" else "**NO**"
    cells = (numbers, row.fault, row.bound, held, values, row.commit)
    return "| " + " | ".join(each.replace("|", "\\|") for each in cells) + " |"


def _reasons(heading: str, rows: list[Row], outcome: str) -> list[str]:
    reasons = [f"- {row.fault}: {_plain(row.why)}" for row in rows if row.outcome == outcome]
    return [heading, "", *reasons, ""] if reasons else []


def _plain(text: str) -> str:
    """Quote a message, so that nothing in it is taken for Markdown."""
    return "`" + text.replace("`", "'").replace("\n", " ") + "`" if text else "no reason given"


def _days(rows: list[Row]) -> str:
    days = sorted({each.taken[:10] for each in rows})
    return " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "never"


def _loads(rows: list[Row]) -> str:
    """Say how busy the machine was, which every figure in seconds depends on."""
    loads = [each.load for each in rows] or [0.0]
    return f"under a load of {min(loads)} to {max(loads)}"
