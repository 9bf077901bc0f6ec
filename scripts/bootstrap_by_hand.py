"""Continues `scripts/bootstrap.py` in the stack's environment: finds the stack, bootstraps it."""

from __future__ import annotations

import os
import sys

from scripts import choose, projects
from server import settings
from server.errors import exit_with


def main() -> None:
    """Replace this process by `python -m server.bootstrap`, which parses the arguments.

    Raises:
        MistakeError: the settings or the project are wrong, or the stack is not running.
    """
    arguments = sys.argv[1:]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    # --help has to work without a stack.
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
