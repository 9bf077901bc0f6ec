"""A Prefect worker type that forks a warm process for each run instead of starting interpreters."""

# What follows the id of a run in the name of the file that holds its end, which is to be reported.
# Here, since the health check reads it without importing Prefect.
END = ".end"
