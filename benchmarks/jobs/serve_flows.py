"""Serves the jobs as flows; the argument is the name of the deployments."""
# mypy: ignore-errors

from __future__ import annotations

import sys

import prefect_jobs as jobs
from prefect import serve

WIDTH = 10
FLOWS = (jobs.noop, jobs.light, jobs.heavy, jobs.hold, jobs.noise)

if __name__ == "__main__":
    serve(*(flow.to_deployment(sys.argv[1]) for flow in FLOWS), limit=WIDTH)
