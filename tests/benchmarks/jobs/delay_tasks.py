"""Asks for runs of the tasks: reads ["noop", 3] from each line, answers with the ids."""
# mypy: ignore-errors

from __future__ import annotations

import json
import sys

import prefect_jobs as jobs

TASKS = {
    "noop": jobs.noop_task,
    "light": jobs.light_task,
    "heavy": jobs.heavy_task,
    "hold": jobs.hold_task,
}

if __name__ == "__main__":
    for line in sys.stdin:
        job, count = json.loads(line)
        ids = [str(TASKS[job].delay().task_run_id) for _ in range(count)]
        sys.stdout.write(json.dumps(ids) + "\n")
        sys.stdout.flush()
