"""Warnings about settings that are valid but unsafe."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from server import secrets, settings
from server.errors import MistakeError
from server.settings import dotenv, placeholders

if TYPE_CHECKING:
    from pathlib import Path

    from server.settings import Settings


def of(values: Settings, env_file: Path = settings.ENV_FILE) -> list[str]:
    """The warnings about these settings and their file, one line each, without a full stop."""
    return [*_short_passwords(values), *_open_to_others(env_file, values.project)]


def _short_passwords(values: Settings) -> list[str]:
    do = {
        "STACK_PASSWORD": "choose a longer one",
        "POSTGRES_PASSWORD": "the database keeps it; the next stack needs a longer one",
    }
    least = secrets.MIN_CHARACTERS
    return [
        f"{name} has {length} characters, and a new stack requires at least {least}: {do[name]}"
        for name, length in secrets.short_passwords(values).items()
    ]


def _open_to_others(env_file: Path, project: Path) -> list[str]:
    try:
        mode = stat.S_IMODE(env_file.stat().st_mode)
        entries = dotenv.read(env_file)
    except (OSError, MistakeError):  # reading the settings reports such a file
        return []
    referenced = placeholders.names(project) - set(settings.Settings.names())
    exposed = [n for n in entries if entries[n].value and n in settings.SECRETS | referenced]
    if not exposed or not mode & 0o077:
        return []
    return [f"other users of this machine can read {exposed[0]} in {env_file.name}: chmod 600 .env"]
