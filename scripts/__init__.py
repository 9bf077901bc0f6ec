"""What a person runs: thin commands over modules."""
