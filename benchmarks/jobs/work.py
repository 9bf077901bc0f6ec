"""What a job does where it is not Prefect's; only the standard library and a PostgreSQL driver."""
# The drivers are in environments of their own.
# mypy: ignore-errors

from __future__ import annotations

import functools
import os
import threading
import time
import uuid
from pathlib import Path

LIGHT = (40, 10)  # how many steps, of which Fibonacci number
HEAVY = (10, 33)

_marking = threading.Lock()  # DBOS runs jobs in threads


def fib(n: int) -> int:
    """The Fibonacci number `n`, slowly."""
    return n if n <= 1 else fib(n - 1) + fib(n - 2)


def first_line(key: str) -> None:
    """Write the time of this call for the run `key`; that of connecting and writing is left out.

    One machine has one clock: PostgreSQL's clock_timestamp() reads the same as time.time() does.
    """
    now = time.time()
    with _marking:
        cursor = _connection().cursor()
        cursor.execute("insert into mark values (%s, %s) on conflict do nothing", (key, now))


@functools.cache
def _connection():  # noqa: ANN202 - of whichever driver is there
    """One for each process."""
    try:
        import psycopg2 as driver  # noqa: PLC0415 - whichever is there
    except ImportError:
        import psycopg as driver  # noqa: PLC0415

    made = driver.connect(os.environ["BENCH_MARKS"])
    made.autocommit = True
    return made


def wait_for_release() -> None:
    """Say that this job runs, then hold until the folder is taken away."""
    folder = Path(os.environ["BENCH_HOLD"])
    (folder / uuid.uuid4().hex).touch()
    while folder.exists():
        time.sleep(0.1)
