"""`scripts/bootstrap.py`, once it has the stack's environment: finds the stack, and bootstraps."""

from __future__ import annotations

import os
import sys

import typer

from scripts import choose
from server import settings
from server.errors import exit_with


def main() -> None:
    """Make the running stack match prefect.yaml; run twice, it changes nothing."""
    backend = choose.running(settings.load())
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    env = {**inherited, **backend.bootstrap_environment()}
    argv = [sys.executable, "-m", "server.bootstrap"]
    os.execve(argv[0], argv, env)  # noqa: S606


if __name__ == "__main__":
    exit_with(lambda: typer.run(main))
