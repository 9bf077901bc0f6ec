"""A job for EMR whose steps are shown as runs: `python emr_job.py ORDERS REPORT`."""
# The folder `tracking` is copied beside the job.
# mypy: ignore-errors

from __future__ import annotations

import csv
import json
import logging
import sys
from pathlib import Path

from tracking import flow, task

log = logging.getLogger("my_emr_job")
log.setLevel(logging.INFO)  # also for a deployment, which imports this file instead of running it


@task(name="my_emr_job.transform.rename")
def rename(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Rename the columns as the warehouse calls them."""
    log.info("renaming %d rows", len(rows))
    return [{"order": row["Order ID"], "amount": row["Amount"]} for row in rows]


@task(name="my_emr_job.transform.cast")
def cast(rows: list[dict[str, str]]) -> list[dict[str, object]]:
    """Turn the amounts into numbers; raises ValueError for an amount that is none."""
    return [{**row, "amount": float(row["amount"])} for row in rows]


@flow(name="my_emr_job.transform")
def transform(rows: list[dict[str, str]]) -> list[dict[str, object]]:
    """Rename and cast the rows."""
    return cast(rename(rows))


@task(name="my_emr_job.write")
def write(rows: list[dict[str, object]], path: Path) -> None:
    """Append a line of JSON for each row, so that work done twice would show."""
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    print(f"wrote {len(rows)} rows")  # noqa: T201 - prints are shown in the log of the run


@flow(name="my_emr_job", log_prints=True)
def main(orders: str, report: str) -> None:
    """Read, transform, write."""
    with Path(orders).open(newline="") as file:
        rows = list(csv.DictReader(file))
    write(transform(rows), Path(report))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main(*sys.argv[1:])
