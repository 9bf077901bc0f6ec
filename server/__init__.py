"""The control plane: settings, secrets, the processes of a stack, its database and its health."""
