"""Stand-ins for the base images, for machines that can pull no images."""
