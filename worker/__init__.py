"""The execution plane: runs flows."""
