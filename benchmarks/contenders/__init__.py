"""The contenders, one in each file; `benchmarks.table` lists them."""
