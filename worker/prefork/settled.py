"""Whether a run finds Prefect's settings as its template has read them already.

Reading them takes 0.1 s, and so does setting the logs up by them, which most runs can leave out.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Prefect reads these in the working directory, and the profiles in its home.
FILES = (".env", "prefect.toml", "pyproject.toml")

Sources = tuple[frozenset[tuple[str, str]], tuple[tuple[str, int, int] | None, ...]]


def sources(env: Mapping[str, str], directory: str) -> Sources:
    """All that the settings are read from: variables, and files by name, time and size."""
    own = frozenset(
        (name, value)
        for name, value in env.items()
        if name.startswith("PREFECT_") and not name.startswith("PREFECT__")
    )
    home = env.get("PREFECT_HOME") or str(Path.home() / ".prefect")
    profiles = env.get("PREFECT_PROFILES_PATH") or str(Path(home) / "profiles.toml")
    paths = (*(os.path.join(directory, name) for name in FILES), profiles)  # noqa: PTH118
    return own, tuple(_state(path) for path in paths)


def _state(path: str) -> tuple[str, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return path, found.st_mtime_ns, found.st_size
