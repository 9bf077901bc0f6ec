"""The two ways to run a stack: in Docker, and without it."""
