"""The sample dataset: the sales of a small shop, in two versions and three environments."""

import csv
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Self

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "orders.csv"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of one table. The fields are the columns of the file, in its order."""

    version: str
    env: str
    table: str
    date: dt.date
    id: str
    customer_id: str
    amount: Decimal
    """EUR. The value of an order, item or payment; for a customer, the credit limit."""

    @classmethod
    def parse(cls, record: dict[str, str]) -> Self:
        return cls(
            version=record["version"],
            env=record["env"],
            table=record["table"],
            date=dt.date.fromisoformat(record["date"]),
            id=record["id"],
            customer_id=record["customer_id"],
            amount=Decimal(record["amount"]),
        )


COLUMNS = tuple(field.name for field in fields(Row))


def read(path: Path) -> Iterator[Row]:
    """Yield the rows of the dataset at `path`, in the order of the file."""
    with path.open(encoding="utf-8", newline="") as file:
        for record in csv.DictReader(file):
            yield Row.parse(record)
