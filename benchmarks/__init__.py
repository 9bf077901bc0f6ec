"""Measures the stack beside what one would pick instead: `scripts/stack bench`."""
