"""Existing jobs of three kinds, whose runs a Prefect server shows as in docs/migrating.md."""
