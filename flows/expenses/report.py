"""Renders the expenses of a month as Markdown with a chart."""

import base64
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from html import escape

from flows.expenses.ledger import Expense

BAR, GAP, LABEL, WIDTH = 22, 8, 150, 640  # pixels
COLOUR = "#2a7de1"


def totals(expenses: Sequence[Expense]) -> dict[str, Decimal]:
    """Return the amount spent in each category, largest first."""
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for expense in expenses:
        sums[expense.category] += expense.amount
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def markdown(expenses: Sequence[Expense]) -> str:
    """Return the report on `expenses`, of which there is at least one, all of one month."""
    by_category = totals(expenses)
    total = sum(by_category.values(), Decimal())
    largest = max(expenses, key=lambda each: each.amount)
    # An image artifact could only show the chart. In Markdown, the UI shows an image with a data
    # URL, but removes inline SVG.
    chart = base64.b64encode(svg(by_category).encode()).decode()
    spent = f"{len(expenses)} expenses, **{total:.2f} EUR**."
    most = f"The largest: {_cell(largest.description)}, {largest.amount:.2f} EUR."
    lines = [
        f"# Expenses of {expenses[0].date:%Y-%m}",
        f"{spent} {most}",
        f"![Expenses by category](data:image/svg+xml;base64,{chart})",
        "| category | EUR | share |\n|---|---:|---:|\n" + "\n".join(_rows(by_category, total)),
    ]
    return "\n\n".join(lines) + "\n"


def svg(by_category: dict[str, Decimal]) -> str:
    """Draw a bar for each category; a category with a negative sum gets a bar of no length."""
    longest = max(*by_category.values(), Decimal("0.01"))
    height = len(by_category) * (BAR + GAP)
    parts = []
    for number, (category, amount) in enumerate(by_category.items()):
        top = number * (BAR + GAP)
        width = max(float(amount / longest), 0.0) * (WIDTH - LABEL - 90)
        middle = top + BAR * 0.7
        parts += [
            f'<text x="{LABEL - 8}" y="{middle}" text-anchor="end">{escape(category)}</text>',
            f'<rect x="{LABEL}" y="{top}" width="{width:.1f}" height="{BAR}" fill="{COLOUR}"/>',
            f'<text x="{LABEL + width + 6:.1f}" y="{middle}">{amount:.2f}</text>',
        ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="14" fill="#555">{"".join(parts)}</svg>'
    )


def _rows(by_category: dict[str, Decimal], total: Decimal) -> list[str]:
    return [
        f"| {_cell(category)} | {amount:.2f} | {_share(amount, total)} |"
        for category, amount in by_category.items()
    ]


def _share(amount: Decimal, total: Decimal) -> str:
    return f"{amount / total:.0%}" if total > 0 else ""


def _cell(text: str) -> str:
    """Escape `text`, so that Markdown shows it unchanged."""
    return "".join(f"\\{char}" if char in r"\`*_{}[]<>()#|!~" else char for char in text)
