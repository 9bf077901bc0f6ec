"""`scripts/bootstrap.py`, once it has the stack's environment: finds the stack, and bootstraps."""

from __future__ import annotations

import os
import sys

from scripts import choose, projects
from server import settings
from server.errors import exit_with


def main() -> None:
    """Become `python -m server.bootstrap`, which has the options, for the server of the stack."""
    arguments = sys.argv[1:]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    # Whoever asks for help may have no stack yet.
    own: dict[str, str] = {}
    if "--help" not in arguments:
        values = settings.load()
        projects.check(values)
        own = choose.running(values).bootstrap_environment()
        os.chdir(values.project)  # where the declarations are
    argv = [sys.executable, "-P", "-m", "server.bootstrap", *arguments]
    os.execve(argv[0], argv, {**inherited, **own})  # noqa: S606


if __name__ == "__main__":
    exit_with(main)
