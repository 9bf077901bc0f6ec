"""Learns which runs there are to do, and takes them for this worker."""
