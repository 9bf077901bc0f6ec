"""The stack without Docker: the same processes, as children of a supervisor."""
