"""The backend that runs a stack without Docker: the same processes, as children of a supervisor."""
