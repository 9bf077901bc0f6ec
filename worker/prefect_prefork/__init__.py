"""A Prefect worker type that forks a warm process for each run instead of starting interpreters."""

# The suffix of the files in the journal that hold a state which is still to be reported; it follows
# the id of the flow run. Defined here so that a health check can count these files without
# importing Prefect.
END = ".end"
