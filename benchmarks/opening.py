"""The beginning of the page of benchmarks: how the figures were taken."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from benchmarks.measures import SLOW_SECONDS

if TYPE_CHECKING:
    from benchmarks.results import Results

WIDTH = 100

PROCEDURE = """
These figures were taken on {day} with `{command}`. All contenders use the same PostgreSQL server,
set up as in this stack, and the same cores. They are measured one at a time, in a different order
in each round; rounds: {rounds}, after a single start of each that is discarded. A round that fails
is repeated once. If a burst, or the steps, took a contender more than {slow} s, they are measured
in one round only; the last column of each table is the number of values. A contender that uses a
Prefect server gets a fresh one in each round, with the settings of this stack; otherwise no Prefect
server is running. Each contender runs at most {width} jobs at once.
"""
SETTINGS = """
prefork and the tuned process worker get the settings that this stack gives its worker; the tuned
one also gets those that make it start runs sooner. The others get the address of the server or
database that they use, a login and that number of jobs, and otherwise keep their defaults. Dagster
therefore starts a process for each step as well, and takes runs from a queue at an interval that is
given below with its version. Eight callers create runs at the same time.
"""
TIMES = """
The time at which a run was created is the one that the contender's own server has stored, or the
database for DBOS. The same holds for the time of completion, except that with `task.serve()` and
Dagster it comes from the process of the job. The time of the first line comes from the process of
the job: it is the first log line of a Prefect run, and elsewhere the first statement of the job,
which writes a row. All these times are by the clock of one machine.
"""


def opening(results: Results) -> list[str]:
    """Return the title, the command and the procedure, as lines of Markdown."""
    sizes = results.settings
    procedure = PROCEDURE.format(
        day=results.taken[:10],
        command=results.command,
        rounds=_rounds(results),
        width=sizes["width"],
        slow=SLOW_SECONDS,
    )
    lines = [
        "# Benchmarks",
        "",
        "How fast runs start, how many of them a machine completes, and what that takes, compared",
        "with the alternatives. A command writes this page from the figures of one run:",
        "",
        "```sh",
        "scripts/stack bench  # takes hours; leave the machine alone",
        "scripts/stack bench --report .stack/benchmarks.json",
        "```",
        "",
    ]
    for text in (procedure, SETTINGS, TIMES):
        filled = textwrap.wrap(" ".join(text.split()), WIDTH, break_on_hyphens=False)
        lines += [*filled, ""]
    return lines


def _rounds(results: Results) -> str:
    """Return the number of rounds, and for a run that was ended early, how many were complete."""
    asked = results.settings["rounds"]
    last = max((sample.round for sample in results.samples), default=0)
    measured = {sample.contender for sample in results.samples if sample.round == last}
    whole = last - (measured < results.titles.keys() - results.left_out.keys())
    return str(asked) if whole >= asked else f"{whole} complete ones of {asked} requested"
