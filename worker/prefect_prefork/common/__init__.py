"""Modules that the worker, its templates and its runs all use."""
