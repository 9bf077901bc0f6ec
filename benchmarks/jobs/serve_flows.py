"""Serves the flows; the argument names the deployments."""
# mypy: ignore-errors

from __future__ import annotations

import sys

import prefect_jobs as jobs
from prefect import serve

WIDTH = 10
FLOWS = (jobs.noop, jobs.light, jobs.heavy, jobs.hold, jobs.noise)

if __name__ == "__main__":
    serve(*(each.to_deployment(sys.argv[1]) for each in FLOWS), limit=WIDTH)
