"""Detects whether a run has Prefect settings of its own, or can use those of its template.

Reading the settings takes 0.1 s, and so does setting up logging. Most runs need neither.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from prefect.settings import get_current_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect.settings import Settings

# Prefect reads these files in the working directory, and its profiles in its home.
FILES = (".env", "prefect.toml", "pyproject.toml")

_written: tuple[Settings, dict[str, str]] | None = None

Sources = tuple[frozenset[tuple[str, str]], tuple[tuple[str, int, int] | None, ...]]


def sources(env: Mapping[str, str], directory: str) -> Sources:
    """Return what determines settings and logging: variables, and files with time and size."""
    own = frozenset(
        (name, value)
        for name, value in env.items()
        if name.startswith("PREFECT_") and not name.startswith("PREFECT__")
    )
    home = env.get("PREFECT_HOME") or str(Path.home() / ".prefect")
    profiles = env.get("PREFECT_PROFILES_PATH") or str(Path(home) / "profiles.toml")
    # If the settings of a run name another file, its sources differ in those settings anyway.
    logs = str(get_current_settings().logging.config_path)
    paths = (*(os.path.join(directory, name) for name in FILES), profiles, logs)  # noqa: PTH118
    return own, tuple(_state(path) for path in paths)


def environment() -> dict[str, str]:
    """Return the settings of this process as variables; cached, since this takes 20 ms."""
    global _written  # noqa: PLW0603
    settings = get_current_settings()
    if _written is None or _written[0] is not settings:
        _written = settings, settings.to_environment_variables(exclude_unset=True)
    return dict(_written[1])


def _state(path: str) -> tuple[str, int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return path, status.st_mtime_ns, status.st_size
