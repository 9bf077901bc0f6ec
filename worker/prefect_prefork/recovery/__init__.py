"""Ensures that every run gets a final state, whichever process dies meanwhile."""
