"""Tests the promises that the stack makes to a run against one fault at a time."""
