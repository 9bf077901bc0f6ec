"""One contender is one file; `benchmarks.table` lists them."""
