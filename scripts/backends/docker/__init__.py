"""The stack in Docker: compose.yaml, through python-on-whales."""
