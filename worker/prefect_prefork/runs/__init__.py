"""Takes each run from its start to its end. Runs in the worker."""
