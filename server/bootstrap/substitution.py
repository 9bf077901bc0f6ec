"""Replaces `{{ $NAME }}` in declarations by values from the environment, `.env` or the settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from server.settings import ENV_FILE, Settings, dotenv
from server.settings.placeholders import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from server.bootstrap.resource import Location
    from server.bootstrap.yaml_file import YamlFile

STACK_ROOT = "STACK_ROOT"  # the folder of the project, as the worker sees it
# Secrets of the stack itself, which must not get into flows, blocks or variables.
WITHHELD = {"POSTGRES_PASSWORD", "ENCRYPTION_KEY", "STACK_PASSWORD"}
WITHHELD |= {"PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"}


def gather(settings: Settings, worker_root: Path, env_file: Path = ENV_FILE) -> dict[str, str]:
    """All values by name: the environment overrides `.env`, which overrides a setting's default."""
    values = {STACK_ROOT: str(worker_root)}
    for name, value in settings:
        reveal = getattr(value, "get_secret_value", None)
        values[name.upper()] = "" if value is None else str(reveal() if reveal else value)
    values |= {name: entry.value for name, entry in dotenv.read(env_file).items()}
    values |= {name: value for name, value in os.environ.items() if name != STACK_ROOT}
    return {name: value for name, value in values.items() if value and name not in WITHHELD}


def fill(node: Any, values: Mapping[str, str], file: YamlFile, where: Location) -> Any:
    """Return `node` with every `{{ $NAME }}` replaced, and record the locations in `file`.

    Raises:
        MistakeError: a name has no value.
    """
    if isinstance(node, dict):
        return {key: fill(value, values, file, (*where, key)) for key, value in node.items()}
    if isinstance(node, list):
        return [fill(value, values, file, (*where, i)) for i, value in enumerate(node)]
    if not isinstance(node, str):
        return node
    for name in REFERENCE.findall(node):
        if name not in values:
            raise file.mistake(
                where,
                f"{{{{ ${name} }}}} has no value",
                expected=f"{name} in .env or in the environment",
                found="none",
                do=f"set {name}, or correct {file.name}",
            )
        file.filled.add(where)
    return REFERENCE.sub(lambda match: values[match[1]], node)
