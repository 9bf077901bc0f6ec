"""Submits the tasks: reads a line such as `["noop", 3]`, answers with the ids, and repeats."""
# mypy: ignore-errors

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import prefect_jobs as jobs

CALLERS = 8
TASKS = {
    "noop": jobs.noop_task,
    "light": jobs.light_task,
    "heavy": jobs.heavy_task,
    "hold": jobs.hold_task,
}


def ask(job: str) -> str:
    """Submit one task; return the id of its run."""
    return str(TASKS[job].delay().task_run_id)


if __name__ == "__main__":
    callers = ThreadPoolExecutor(CALLERS)
    for line in sys.stdin:
        job, count = json.loads(line)
        ids = list(callers.map(ask, [job] * count))
        sys.stdout.write(json.dumps(ids) + "\n")
        sys.stdout.flush()
