"""The jobs as DBOS workflows: the argument `work` executes them, `ask` enqueues them."""
# DBOS is installed in another environment.
# mypy: ignore-errors

from __future__ import annotations

import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS, DBOSClient
from work import HEAVY, LIGHT, fib, first_line, wait_for_release

QUEUE = "bench"
WIDTH = 10
CALLERS = 8


@DBOS.step()
def step(n: int) -> int:
    """Run one step."""
    return fib(n)


def _steps(count: int, n: int) -> None:
    for _ in range(count):
        step(n)


@DBOS.workflow(name="noop")
def noop() -> None:
    """Write only the first line."""
    first_line(DBOS.workflow_id)


@DBOS.workflow(name="light")
def light() -> None:
    """Run many small steps."""
    first_line(DBOS.workflow_id)
    _steps(*LIGHT)


@DBOS.workflow(name="heavy")
def heavy() -> None:
    """Run a few large steps."""
    first_line(DBOS.workflow_id)
    _steps(*HEAVY)


@DBOS.workflow(name="hold")
def hold() -> None:
    """Hold until released."""
    first_line(DBOS.workflow_id)
    wait_for_release()


def work() -> None:
    """Execute the workflows that are enqueued, until killed."""
    config = {
        "name": "bench",
        "system_database_url": os.environ["BENCH_DBOS"],
        "application_version": "1",
        "run_admin_server": False,
    }
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=WIDTH)
    threading.Event().wait()


def ask() -> None:
    """Enqueue workflows: read a line such as `["noop", 3]`, answer with their ids, and repeat."""
    client = None
    callers = ThreadPoolExecutor(CALLERS)

    def enqueue(job: str) -> str:
        options = {"queue_name": QUEUE, "workflow_name": job}
        return client.enqueue(options).get_workflow_id()

    for line in sys.stdin:
        job, count = json.loads(line)
        if count:  # the client needs the tables, which the worker creates
            client = client or DBOSClient(system_database_url=os.environ["BENCH_DBOS"])
        ids = list(callers.map(enqueue, [job] * count))
        sys.stdout.write(json.dumps(ids) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    {"work": work, "ask": ask}[sys.argv[1]]()
