"""A Prefect worker type that forks a warm process for each run instead of starting interpreters."""

# The suffix of the files in the journal that hold a final state which is still to be reported; the
# id of the flow run precedes it. Defined here so that a health check can count these files without
# importing Prefect.
END = ".end"
