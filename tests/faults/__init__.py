"""What the stack promises to a run, held against one fault at a time."""
