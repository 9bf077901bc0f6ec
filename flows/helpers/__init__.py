"""Helpers for flows, one in each module."""
