"""The template, and what the processes do that are forked from it."""
