"""Writes `docs/benchmarks.md` from the raw figures of a run."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.settings import ROOT
from tests.benchmarks import chart, table
from tests.benchmarks.results import Results, quantile, read

if TYPE_CHECKING:
    from pathlib import Path

MEGABYTE = 2**20


@dataclass(frozen=True)
class Column:
    """How the tables show a measure."""

    measure: str
    title: str
    unit: str
    explained: str
    divisor: float = 1
    more_is_better: bool = False


COLUMNS = (
    Column("start", "start", "s", "A run is created on an idle stack → the first line of its job."),
    Column(
        "burst",
        "burst",
        "runs/min",
        "No-op runs created at once, from the first creation until the last is complete.",
        more_is_better=True,
    ),
    Column(
        "steps-light",
        "40 x fib(10)",
        "s",
        "One run of 40 small steps, one after the other: created → complete, pick-up included.",
    ),
    Column(
        "steps-heavy",
        "10 x fib(33)",
        "s",
        "One run of 10 steps that compute: created → complete, pick-up included.",
    ),
    Column("ready", "ready", "s", "The worker's process is started → first line of a waiting run."),
    Column(
        "memory-idle",
        "idle",
        "MB",
        "PSS of the worker's processes without a run. PSS counts a shared page once in all.",
        MEGABYTE,
    ),
    Column("memory-run", "per run", "MB", "What each of five running jobs adds to that.", MEGABYTE),
    Column(
        "memory-server",
        "its server",
        "MB",
        "PSS of what takes the orders: API server, DAG processor, code server; not PostgreSQL.",
        MEGABYTE,
    ),
)


def write(source: Path, docs: Path = ROOT / "docs") -> list[Path]:
    """Write the document, its chart and the raw figures into `docs`; the files.

    Raises:
        MistakeError: `source` is no file of raw figures.
    """
    results = read(source)
    page, picture, raw = (
        docs / "benchmarks.md",
        docs / "images" / "benchmarks.svg",
        docs / "benchmarks.json",
    )
    picture.parent.mkdir(parents=True, exist_ok=True)
    results.write(raw)
    picture.write_text(chart.draw(results))
    page.write_text(render(results))
    return [page, picture, raw]


def render(results: Results) -> str:
    """The document."""
    return "\n".join(
        [
            *_opening(results),
            *_summary(results),
            *_losses(results),
            *(line for column in COLUMNS for line in _measure(results, column)),
            *_soaks(results),
            *_left_out(results),
            *_made_of(results),
        ]
    )


def shown(value: float) -> str:
    """Three digits that count."""
    for digits, limit in ((0, 100), (1, 10), (2, 0)):
        if abs(value) >= limit:
            return f"{value:.{digits}f}"
    raise AssertionError(value)


def _opening(results: Results) -> list[str]:
    sizes = results.settings
    how = (
        f"The figures here were taken on {results.taken[:10]} with `{results.command}`. All "
        "contenders use one PostgreSQL server and the same cores. They run one at a time and take "
        f"turns; rounds: {sizes['rounds']}, after one that is thrown away. Whoever does not use "
        "the Prefect server does not have it running beside it. Each runs "
        f"{sizes['width']} jobs at once, at most; all else is as each comes, so that Dagster "
        "starts a process for each step, too. Times are those that the contender's own server "
        "has stored; first lines are the first log line of a Prefect run, and in the others a row "
        "that the job's first statement writes. All clocks are that of one machine."
    )
    return [
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
        *textwrap.wrap(how, 100, break_on_hyphens=False),
        "",
    ]


def _summary(results: Results) -> list[str]:
    columns = [each for each in COLUMNS if _names(results, each)]
    lines = [
        "Medians; what is in bold is the best of its column.",
        "",
        "![Start and burst](images/benchmarks.svg)",
        "",
        "| | " + " | ".join(f"{each.title}, {each.unit}" for each in columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    best = {each: _best(results, each) for each in columns}
    for name in _ranked(results):
        cells = []
        for column in columns:
            value = _median(results, name, column)
            text = "-" if value is None else shown(value)
            cells.append(f"**{text}**" if value is not None and value == best[column] else text)
        lines.append(f"| {results.titles[name]} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _losses(results: Results) -> list[str]:
    """Where another contender is ahead of ours, with the figures."""
    lost = []
    for column in COLUMNS:
        own = _median(results, table.OURS, column)
        if own is None:
            continue
        ahead = []
        for name in _names(results, column):
            value = _median(results, name, column)
            if value is not None and (value > own if column.more_is_better else value < own):
                ahead.append(f"{results.titles[name]} ({shown(value)})")
        if ahead:
            lost.append(f"- {column.title}, {column.unit} ({shown(own)}): {', '.join(ahead)}.")
    if not lost:
        return []
    return [
        "## Where prefork is behind",
        "",
        *lost,
        "",
        "`task.serve()` and DBOS run jobs in threads of one process: nothing is started for a run,",
        "and nothing keeps one run's crash, memory or environment from the others.",
        "",
    ]


def _measure(results: Results, column: Column) -> list[str]:
    names = _names(results, column)
    if not names:
        return []
    lines = [
        f"## {column.title}",
        "",
        f"{column.explained} In {column.unit}.",
        "",
        "| | min | p50 | p95 | max | samples |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in names:
        values = [each / column.divisor for each in results.values(name, column.measure)]
        figures = (min(values), quantile(values, 0.5), quantile(values, 0.95), max(values))
        cells = " | ".join(shown(each) for each in figures)
        lines.append(f"| {results.titles[name]} | {cells} | {len(values)} |")
    return [*lines, ""]


def _soaks(results: Results) -> list[str]:
    if not results.soaks:
        return []
    rows = [
        f"| {results.titles[name]} | {key} | {value if isinstance(value, str) else shown(value)} |"
        for name, found in results.soaks.items()
        for key, value in found.items()
    ]
    return ["## soak", "", "| | | |", "|---|---|---:|", *rows, ""]


def _left_out(results: Results) -> list[str]:
    if not results.left_out:
        return []
    rows = [f"- {results.titles[name]}: {why}" for name, why in results.left_out.items()]
    return ["## Left out", "", *rows, ""]


def _made_of(results: Results) -> list[str]:
    machine = [f"- {name}: {value}" for name, value in results.machine.items()]
    versions = [
        f"- {results.titles[name]}: " + ", ".join(f"{k} {v}" for k, v in found.items())
        for name, found in results.versions.items()
    ]
    closing = "Every single value is in [benchmarks.json](benchmarks.json)."
    return ["## Measured on", "", *machine, "", "Contenders:", "", *versions, "", closing, ""]


def _names(results: Results, column: Column) -> list[str]:
    return [name for name in results.titles if results.values(name, column.measure)]


def _ranked(results: Results) -> list[str]:
    return [name for name in results.titles if any(name in _names(results, c) for c in COLUMNS)]


def _median(results: Results, name: str, column: Column) -> float | None:
    values = results.values(name, column.measure)
    return quantile(values, 0.5) / column.divisor if values else None


def _best(results: Results, column: Column) -> float:
    found = [_median(results, name, column) for name in _names(results, column)]
    values = [each for each in found if each is not None]
    return max(values) if column.more_is_better else min(values)
