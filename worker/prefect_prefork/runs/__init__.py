"""Takes each run from its start to its end, in the worker."""
