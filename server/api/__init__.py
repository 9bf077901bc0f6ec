"""The API of a Prefect server, as its clients call it."""
