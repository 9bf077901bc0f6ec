"""Hands bootstrap in Docker the values of `.env` that the declarations refer to, and no others."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from server import settings
from server.settings import dotenv, placeholders

if TYPE_CHECKING:
    from pathlib import Path

FILE = "bootstrap/values"
# The other settings are in the environment of the container, or are not for declarations at all.
SETTING = "SLACK_WEBHOOK_URL"


def save(env_file: Path, root: Path, folder: Path) -> None:
    """Keep under `folder` the values in `env_file` that the declarations in `root` refer to."""
    wanted = placeholders.names(root) - set(settings.Settings.names()) | {SETTING}
    entries = dotenv.read(env_file)
    values = {name: entries[name].value for name in sorted(wanted & entries.keys())}
    path = folder / FILE
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as file:
        json.dump(values, file)


def read(folder: Path) -> dict[str, str]:
    """What was kept under `folder`; nothing where `init` has not been there."""
    try:
        values: dict[str, str] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return values
