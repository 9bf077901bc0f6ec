"""A Prefect worker type that forks a warm process for each run instead of starting interpreters."""
