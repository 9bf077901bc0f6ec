"""Serves the jobs as tasks."""
# mypy: ignore-errors

from __future__ import annotations

import prefect_jobs as jobs
from prefect.task_worker import serve

if __name__ == "__main__":
    serve(jobs.noop_task, jobs.light_task, jobs.heavy_task, jobs.hold_task)
