"""What is not wrong enough to be refused, and a person should know."""

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
    """A line for each thing, without a full stop."""
    return [*_short(values), *_open_to_others(env_file, values.project)]


def _short(values: Settings) -> list[str]:
    do = {
        "STACK_PASSWORD": "choose a longer one",
        "POSTGRES_PASSWORD": "the database keeps it; the next stack needs a longer one",
    }
    least = secrets.MIN_CHARACTERS
    return [
        f"{name} has {length} characters, and a new stack takes none below {least}: {do[name]}"
        for name, length in secrets.short_passwords(values).items()
    ]


def _open_to_others(env_file: Path, project: Path) -> list[str]:
    try:
        mode = stat.S_IMODE(env_file.stat().st_mode)
        entries = dotenv.read(env_file)
    except (OSError, MistakeError):  # not there, or not to be read here: others say so
        return []
    asked_for = placeholders.names(project) - set(settings.Settings.names())
    held = [n for n in entries if entries[n].value and n in settings.SECRETS | asked_for]
    if not held or not mode & 0o077:
        return []
    return [f"other users of this machine can read {held[0]} in {env_file.name}: chmod 600 .env"]
