"""Compares the stack with the alternatives to it: `scripts/stack bench`."""
