"""An Airflow DAG whose runs are shown as flow runs, and their tasks as task runs."""
# Airflow is installed in a separate environment.
# mypy: ignore-errors
# ruff: noqa: INP001 - the folder is Airflow's, not a package

from __future__ import annotations

import csv
import functools
import logging
import os
from pathlib import Path
from typing import Any

import tracking
from airflow.sdk import dag, get_current_context, task

log = logging.getLogger("orders_dag")


def tracked(function: Any) -> Any:
    """Make each call of `function` a task run of the flow run that belongs to the DAG run."""
    run = tracking.task(name=f"orders_dag.{function.__name__}")(function)

    @functools.wraps(function)
    def within(*args: Any, **kwargs: Any) -> Any:
        with tracking.part_of("orders_dag", key=get_current_context()["run_id"]):
            return run(*args, **kwargs)

    return within


def succeeded(context: dict[str, Any]) -> None:
    """Complete the flow run, which no task can do: each may be a process of its own."""
    tracking.end("orders_dag", key=context["run_id"])


def failed(context: dict[str, Any]) -> None:
    """End the flow run as Failed, so that alerts are sent."""
    tracking.end("orders_dag", key=context["run_id"], error=context.get("reason") or "DAG failed")


@dag(schedule=None, on_success_callback=succeeded, on_failure_callback=failed)
def orders_dag() -> None:
    """Read the amounts, then write their sum."""

    @task
    @tracked
    def cast() -> list[float]:
        with Path(os.environ["ORDERS"]).open(newline="") as file:
            amounts = [float(row["Amount"]) for row in csv.DictReader(file)]
        log.info("cast %d rows", len(amounts))
        return amounts

    @task
    @tracked
    def total(amounts: list[float]) -> None:
        with Path(os.environ["REPORT"]).open("a") as file:
            file.write(f"{sum(amounts)}\n")

    total(cast())


orders_dag()
