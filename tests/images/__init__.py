"""Builds stand-ins for the base images on machines that cannot pull images."""
