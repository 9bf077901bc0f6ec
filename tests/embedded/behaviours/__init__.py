"""Flows with one behaviour each, which the tests of the two types of worker run."""
