"""The jobs of the contenders, which `benchmarks.ground` copies to a project folder."""
