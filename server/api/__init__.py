"""Clients of the API of a Prefect server."""
