"""Sees to it that no run is left without an end, whoever dies meanwhile."""
