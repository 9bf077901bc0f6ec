"""The image of the worker and its health check, and how Python finds the modules of the stack."""
