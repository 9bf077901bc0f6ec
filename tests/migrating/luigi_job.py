"""A Luigi pipeline whose tasks are shown as runs: `python luigi_job.py ORDERS FOLDER WORKERS`."""
# Luigi is installed in a separate environment.
# mypy: ignore-errors

from __future__ import annotations

import csv
import json
import logging
import sys
from pathlib import Path

import luigi
from tracking import flow, task

log = logging.getLogger("orders")


class Orders(luigi.ExternalTask):
    """The input file of the pipeline."""

    path = luigi.Parameter()

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(self.path)


class Cast(luigi.Task):
    """Reads the amounts of the orders as numbers."""

    orders, folder = luigi.Parameter(), luigi.Parameter()

    def requires(self) -> Orders:
        return Orders(self.orders)

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(Path(self.folder) / "cast.json")

    @task(name="orders.cast")
    def run(self) -> None:
        with self.input().open() as file:
            amounts = [float(row["Amount"]) for row in csv.DictReader(file)]
        log.info("cast %d rows", len(amounts))
        with self.output().open("w") as file:
            json.dump(amounts, file)


class Total(luigi.Task):
    """Writes the sum of all amounts."""

    orders, folder = luigi.Parameter(), luigi.Parameter()

    def requires(self) -> Cast:
        return Cast(self.orders, self.folder)

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(Path(self.folder) / "total.txt")

    @task(name="orders.total")
    def run(self) -> None:
        with self.input().open() as file:
            total = sum(json.load(file))
        with self.output().open("w") as file:
            file.write(str(total))


@flow(name="orders")
def main(orders: str, folder: str, workers: str) -> None:
    """Build the sum; exit with 1 if a task failed, which Luigi itself only prints."""
    if not luigi.build([Total(orders, folder)], workers=int(workers), local_scheduler=True):
        sys.exit(1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main(*sys.argv[1:])
