"""What the contenders run; copied into a project folder, see `benchmarks.ground`."""
