"""What the page of the benchmarks begins with: how the figures were taken."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from benchmarks.measures import SLOW_SECONDS

if TYPE_CHECKING:
    from benchmarks.results import Results

WIDTH = 100

PROCEDURE = """
The figures here were taken on {day} with `{command}`. All contenders use one PostgreSQL server, set
up as this stack ships it, and the same cores. They run one at a time and take turns, in another
order each time; rounds: {rounds}, after a single start of each that is thrown away. A round that
fails is made once more. A burst, or the steps, that took a contender more than {slow} s are taken
in one round only; the last column of each table says how many values there are. Whoever uses a
Prefect server gets a fresh one in each round, with this stack's settings; the others do not have it
running beside them. Each runs {width} jobs at once, at most.
"""
SETTINGS = """
prefork and the tuned process worker get the settings that this stack gives its worker, the tuned
one besides those that make it start sooner. The others get the address of what they use, a login,
that width, and else what they come with. Dagster so starts a process for each step, too, and takes
runs from a queue at an interval that stands below, with its version. Runs are asked for by eight
callers at once.
"""
TIMES = """
When a run was created is stored by the contender's own server, or for DBOS by the database. When it
was complete, likewise, but for `task.serve()` and Dagster: there the process of the job tells the
time. First lines have the time of the job's own process: that of the first log line of a Prefect
run, and in the others that of the job's first statement, which writes a row. All these clocks are
that of one machine.
"""


def opening(results: Results) -> list[str]:
    """The title, the command and the way in which it measures."""
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
        "How fast runs start, how many a machine gets through, and what that takes, beside what",
        "one would pick instead. This page is written by a command from the figures of one run:",
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
    """How many there were, and of how many where the run was ended before its end."""
    asked = results.settings["rounds"]
    last = max((each.round for each in results.samples), default=0)
    measured = {each.contender for each in results.samples if each.round == last}
    whole = last - (measured < results.titles.keys() - results.left_out.keys())
    return str(asked) if whole >= asked else f"{whole} whole ones of {asked} that were asked for"
