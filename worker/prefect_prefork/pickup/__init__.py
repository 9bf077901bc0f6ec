"""Learns which runs are waiting, and takes them for this worker."""
