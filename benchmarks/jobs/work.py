"""The work of jobs outside of Prefect, which needs only a PostgreSQL driver besides Python."""
# The drivers are installed in other environments.
# mypy: ignore-errors

from __future__ import annotations

import functools
import os
import threading
import time
import uuid
from pathlib import Path

LIGHT = (40, 10)  # number of steps, and the Fibonacci number that each computes
HEAVY = (10, 33)

_marking = threading.Lock()  # DBOS runs jobs in threads


def fib(n: int) -> int:
    """Compute the Fibonacci number `n` slowly."""
    return n if n <= 1 else fib(n - 1) + fib(n - 2)


def first_line(key: str) -> None:
    """Record the time of this call for the run `key`, before connecting and writing.

    On one machine, PostgreSQL's clock_timestamp() reads the same clock as time.time().
    """
    now = time.time()
    with _marking:
        cursor = _connection().cursor()
        cursor.execute("insert into mark values (%s, %s) on conflict do nothing", (key, now))


@functools.cache
def _connection():  # noqa: ANN202 - the type depends on the driver
    try:
        import psycopg2 as driver  # noqa: PLC0415 - whichever is installed
    except ImportError:
        import psycopg as driver  # noqa: PLC0415

    connection = driver.connect(os.environ["BENCH_MARKS"])
    connection.autocommit = True
    return connection


def wait_for_release() -> None:
    """Report that this job is running, by a file, then hold until the folder is removed."""
    folder = Path(os.environ["BENCH_HOLD"])
    (folder / uuid.uuid4().hex).touch()
    while folder.exists():
        time.sleep(0.1)
