"""Reads expenses from a CSV file with the columns date, category, description and amount."""

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
    """One line of the file. The fields are its columns, which may be in any order."""

    date: dt.date
    category: str
    description: str
    amount: Decimal
    """EUR; negative for a refund."""

    @classmethod
    def parse(cls, record: dict[str, str]) -> Self:
        """Read one line of the file.

        Raises:
            ValueError: A column is invalid; the message names it.
        """
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
    """Return every expense in the file at `path`.

    Raises:
        ValueError: There is no such file, a column is missing, or a line is invalid; the message
            names the line.
    """
    if not path.is_file():
        raise ValueError(f"expenses: expected a CSV file, found none at {path}")
    expenses = []
    # Spreadsheets begin a file with a byte order mark, which is not part of the first name.
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file, restval="")
        if missing := [column for column in COLUMNS if column not in (lines.fieldnames or ())]:
            raise ValueError(
                f"{path.name}: expected the columns {', '.join(COLUMNS)}; "
                f"found none for {', '.join(missing)}"
            )
        for record in lines:
            try:
                expenses.append(Expense.parse(record))
            except ValueError as error:
                raise ValueError(f"{path.name}, line {lines.line_num}: {error}") from None
    return tuple(expenses)


def month_of(expenses: Sequence[Expense], day: dt.date | None) -> tuple[Expense, ...]:
    """Return the expenses of the month of `day`; if that is None, of the last month in the file.

    Raises:
        ValueError: There are none.
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
