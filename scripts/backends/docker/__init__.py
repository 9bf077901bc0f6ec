"""The backend that runs a stack in Docker."""
