"""A month's expenses for people: Markdown with a chart in it."""

import base64
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from html import escape

from flows.expenses.ledger import Expense

BAR, GAP, LABEL, WIDTH = 22, 8, 150, 640  # pixels
COLOUR = "#2a7de1"


def totals(expenses: Sequence[Expense]) -> dict[str, Decimal]:
    """What was spent in each category, the most first."""
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for expense in expenses:
        sums[expense.category] += expense.amount
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def markdown(expenses: Sequence[Expense]) -> str:
    """The report on `expenses`, which are of one month and at least one."""
    by_category = totals(expenses)
    total = sum(by_category.values(), Decimal())
    largest = max(expenses, key=lambda each: each.amount)
    # An image artifact would show the chart alone. The UI shows an image of a data address in
    # Markdown; it removes SVG that is written there directly.
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
    """A bar for each category; one that is in credit has none."""
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
    """`text` so that Markdown shows it as it is."""
    return "".join(f"\\{each}" if each in r"\`*_{}[]<>()#|!~" else each for each in text)
