"""Expenses in a CSV file: one a line, as date, category, description and amount."""

import csv
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Self

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "expenses.csv"


@dataclass(frozen=True, slots=True)
class Expense:
    """One line. The fields are the columns of the file, in any order there."""

    date: dt.date
    category: str
    description: str
    amount: Decimal
    """EUR; negative for money that came back."""

    @classmethod
    def parse(cls, record: dict[str, str]) -> Self:
        """Raises ValueError that names the column."""
        if not record["category"].strip():
            raise ValueError("category: expected a name, found none")
        return cls(
            _date(record["date"]),
            record["category"].strip(),
            record["description"].strip(),
            _amount(record["amount"]),
        )


COLUMNS = tuple(field.name for field in fields(Expense))


def read(path: Path) -> tuple[Expense, ...]:
    """Every expense in the file at `path`.

    Raises:
        ValueError: there is no such file, a column is missing, or a line is wrong, which is named.
    """
    if not path.is_file():
        raise ValueError(f"expenses: expected a CSV file, found none at {path}")
    found = []
    # What spreadsheets write begins with a mark that is no part of the first column's name.
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file, restval="")
        if missing := [column for column in COLUMNS if column not in (lines.fieldnames or ())]:
            raise ValueError(
                f"{path.name}: expected the columns {', '.join(COLUMNS)}; "
                f"found none for {', '.join(missing)}"
            )
        for record in lines:
            try:
                found.append(Expense.parse(record))
            except ValueError as error:
                raise ValueError(f"{path.name}, line {lines.line_num}: {error}") from None
    return tuple(found)


def month_of(expenses: Sequence[Expense], day: dt.date | None) -> tuple[Expense, ...]:
    """The expenses of the month that `day` is in; without a day, of the last month there is.

    Raises:
        ValueError: there are none.
    """
    months = sorted({(expense.date.year, expense.date.month) for expense in expenses})
    if not months:
        raise ValueError("expenses: expected a file with expenses, found an empty one")
    wanted = (day.year, day.month) if day else months[-1]
    if wanted not in months:
        raise ValueError(
            f"month: expected one of {', '.join(f'{year}-{month:02}' for year, month in months)}; "
            f"found {wanted[0]}-{wanted[1]:02}"
        )
    return tuple(each for each in expenses if (each.date.year, each.date.month) == wanted)


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"date: expected a day such as 2026-03-31, found {text!r}") from None


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text.strip())
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise ValueError(f"amount: expected a number such as 12.50, found {text!r}")
    return amount
