"""Draws a bar chart of start and burst as a small SVG, without a library."""

from __future__ import annotations

import math
import statistics
from html import escape
from typing import TYPE_CHECKING

from benchmarks.columns import shown
from benchmarks.results import Results, p95
from benchmarks.table import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH = 760
LABEL = 230  # width of the names
END = 70  # width of the figures behind the bars
ROW = 26
HEAD = 44
FONT = 'font-family="system-ui, sans-serif" font-size="13"'
OWN = "#2563eb"
OTHERS = "#94a3b8"
INK = "#334155"


def draw(results: Results) -> str:
    """Return the SVG. Both panels have a logarithmic scale, since the figures differ widely."""
    parts: list[str] = []
    top = 0
    for measure, title in (
        ("start", "Start: created to first line, seconds, median (line: to p95), logarithmic"),
        ("burst", "Burst: runs a minute, median, logarithmic"),
    ):
        names = [name for name in results.titles if results.values(name, measure)]
        if names:
            parts += _panel(results, measure, title, names, top)
            top += HEAD + ROW * len(names)
    height = top + 10
    frame = f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {FONT}>'
    return "\n".join([opening, frame, *parts, "</svg>", ""])


def _panel(results: Results, measure: str, title: str, names: Sequence[str], top: int) -> list[str]:
    values = {name: results.values(name, measure) for name in names}
    scale = _scale([value for of_one in values.values() for value in of_one])
    parts = [_text(10, top + 26, title, 'font-weight="600"')]
    for row, name in enumerate(names):
        y = top + HEAD + ROW * row
        median, high = statistics.median(values[name]), p95(values[name])
        colour = OWN if name == OURS else OTHERS
        end = scale(high if measure == "start" else median)
        parts += [
            _text(LABEL - 10, y + 17, results.titles[name], 'text-anchor="end"'),
            f'<rect x="{LABEL}" y="{y + 4}" {_wide(scale(median) - LABEL)} fill="{colour}"/>',
            f'<line {_level(scale(median), end, y + 13)} stroke="{INK}"/>',
            _text(end + 6, y + 17, shown(median)),
        ]
    return parts


def _text(x: float, y: int, text: str, how: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y}" fill="{INK}" {how}>{escape(text)}</text>'


def _wide(width: float) -> str:
    return f'width="{width:.1f}" height="18"'


def _level(begin: float, end: float, y: int) -> str:
    return f'x1="{begin:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}"'


def _scale(values: Sequence[float]) -> Callable[[float], float]:
    """Return a function from a value to its x; the shortest bar has a tenth of the width."""
    low, high = math.log(min(values)), math.log(max(values))
    room = WIDTH - LABEL - END
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return LABEL + room * (0.1 + 0.9 * (math.log(value) - low) / span)

    return place
