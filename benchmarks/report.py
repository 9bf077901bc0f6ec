"""Writes `docs/benchmarks.md` from the raw figures of a run."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks import chart, profile, table
from benchmarks.columns import BURST, COLUMNS, START, Column, shown
from benchmarks.opening import opening
from benchmarks.results import Results, p95, read
from server.settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

STOCK = "stock"
# The contenders that run jobs in threads.
THREADED = ("task-serve", "dbos")

NEVER = "the run was ended before its turn"


def write(source: Path, docs: Path = ROOT / "docs") -> list[Path]:
    """Write the page, its chart and the raw figures to `docs`; return the paths of the files.

    Raises:
        MistakeError: `source` is not a file of raw figures.
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
    """Return the page as Markdown."""
    return "\n".join(
        [
            *opening(results),
            *_summary(results),
            *_ratios(results),
            *_losses(results),
            *(line for column in COLUMNS for line in _measure(results, column)),
            *_profile(results),
            *_soaks(results),
            *_left_out(results),
            *_made_of(results),
        ]
    )


def _summary(results: Results) -> list[str]:
    columns = [column for column in COLUMNS if column.names(results)]
    lines = [
        "Medians; the best value of each column is in bold.",
        "",
        "![Start and burst](images/benchmarks.svg)",
        "",
        "| | " + " | ".join(f"{column.title}, {column.unit}" for column in columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    best = {column: _best(results, column) for column in columns}
    for name, title in results.titles.items():
        medians = {column: column.median(results, name) for column in columns}
        if any(value is not None for value in medians.values()):
            cells = (_cell(value, best[column]) for column, value in medians.items())
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _best(results: Results, column: Column) -> float:
    medians = [column.median(results, name) for name in column.names(results)]
    values = [median for median in medians if median is not None]
    return max(values) if column.more_is_better else min(values)


def _cell(value: float | None, best: float) -> str:
    if value is None:
        return "-"
    return f"**{shown(value)}**" if value == best else shown(value)


def _ratios(results: Results) -> list[str]:
    """Compare prefork with the process worker and its defaults, which are its targets."""
    starts = START.values(results, table.OURS)
    slow, many = START.median(results, STOCK), BURST.median(results, table.OURS)
    few = BURST.median(results, STOCK)
    rows = []
    if starts and slow is not None:
        ratio = slow / statistics.median(starts)
        rows.append(f"| start, p50: {STOCK} / {table.OURS} | {shown(ratio)} |")
    if many is not None and few is not None:
        rows.append(f"| burst: {table.OURS} / {STOCK} | {shown(many / few)} |")
    if starts:
        rows += [
            f"| start of {table.OURS}, {title}, s | {shown(of(starts))} |"
            for title, of in (("p50", statistics.median), ("p95", p95))
        ]
    if not rows:
        return []
    explained = "The targets of prefork; stock is the process worker with its defaults:"
    return [explained, "", "| | |", "|---|---:|", *rows, ""]


def _losses(results: Results) -> list[str]:
    """List where another contender is ahead of ours, or has figures and ours has none."""
    lost, ahead_of_all = [], set()
    for column in COLUMNS:
        own = column.median(results, table.OURS)
        others = [name for name in column.names(results) if name != table.OURS]
        if own is None:
            if others:
                lost.append(f"- {column.title}: prefork has no figure, others have.")
            continue
        ahead = [
            (name, value)
            for name in others
            if (value := column.median(results, name)) is not None and column.better(value, own)
        ]
        ahead_of_all |= {name for name, _ in ahead}
        if ahead:
            named = ", ".join(f"{results.titles[name]} ({shown(value)})" for name, value in ahead)
            lost.append(f"- {column.title}, {column.unit} ({shown(own)}): {named}.")
    if not lost:
        return []
    threads = [
        "`task.serve()` and DBOS run jobs in threads of one process: nothing is started for a run,",
        "and nothing isolates its crashes, memory or environment from the others.",
        "",
    ]
    explained = threads if ahead_of_all & set(THREADED) else []
    return ["## Where prefork is behind", "", *lost, "", *explained]


def _measure(results: Results, column: Column) -> list[str]:
    names = column.names(results)
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
        values = column.values(results, name)
        figures = (min(values), statistics.median(values), p95(values), max(values))
        cells = " | ".join(shown(figure) for figure in figures)
        lines.append(f"| {results.titles[name]} | {cells} | {len(values)} |")
    return [*lines, ""]


def _profile(results: Results) -> list[str]:
    if not results.profile:
        return []
    rows = [
        f"| **{part}** | **{value:.0f}** |"
        if part == profile.TOTAL
        else f"| {part} | {value:.0f} |"
        for part, value in results.profile.items()
    ]
    return [
        "## Where the time of a start goes",
        "",
        "Single starts of prefork, one after another, with a relay before the API that sees each",
        "request and its time. Medians in milliseconds; the last line is not their sum.",
        "",
        "| | ms |",
        "|---|---:|",
        *rows,
        "",
    ]


def _soaks(results: Results) -> list[str]:
    if not results.soaks:
        return []
    rows = [
        f"| {results.titles[name]} | {key} | {value if isinstance(value, str) else shown(value)} |"
        for name, soak in results.soaks.items()
        for key, value in soak.items()
    ]
    return ["## soak", "", "| | | |", "|---|---|---:|", *rows, ""]


def _left_out(results: Results) -> list[str]:
    measured = {sample.contender for sample in results.samples}
    never = {name: NEVER for name in results.titles if name not in measured}
    reasons = {**never, **results.left_out}
    rows = [f"- {results.titles[name]}: {why}" for name, why in reasons.items()]
    if not rows:
        return []
    return ["## Left out", "", *rows, ""]


def _made_of(results: Results) -> list[str]:
    machine = [f"- {name}: {value}" for name, value in results.machine.items()]
    made_of = [
        f"- {results.titles[name]}: "
        + ", ".join(f"{package} {version}" for package, version in versions.items())
        for name, versions in results.versions.items()
    ]
    closing = "All values are in [benchmarks.json](benchmarks.json)."
    return ["## Measured on", "", *machine, "", "Contenders:", "", *made_of, "", closing, ""]
