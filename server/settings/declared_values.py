"""Passes to bootstrap in Docker only those values from `.env` that declarations refer to."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from server import settings
from server.settings import dotenv, placeholders

if TYPE_CHECKING:
    from pathlib import Path

FILE = "bootstrap/values"
# The only setting to pass on: the others are in the container's environment already, or must not be
# used in declarations.
SETTING = "SLACK_WEBHOOK_URL"


def save(env_file: Path, root: Path, folder: Path) -> None:
    """Save in `folder` the values from `env_file` that the declarations in `root` refer to."""
    names = placeholders.names(root) - set(settings.Settings.names()) | {SETTING}
    entries = dotenv.read(env_file)
    values = {name: entries[name].value for name in sorted(names & entries.keys())}
    path = folder / FILE
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as file:
        json.dump(values, file)


def read(folder: Path) -> dict[str, str]:
    """The values that `save` wrote to `folder`, by name; empty if there is no such file."""
    try:
        values: dict[str, str] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return values
