"""One contender is one file; `tests.benchmarks.table` lists them."""
