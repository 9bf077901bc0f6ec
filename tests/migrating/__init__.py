"""Existing jobs of three kinds, which docs/migrating.md shows on a Prefect server."""
