"""Flows that do one thing each that a run can do; tests/embedded/test_worker_types.py runs them."""
