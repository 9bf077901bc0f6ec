"""Secrets of a stack in Docker count in `.env` only.

Compose hands what stands in a shell on to a container in the container's configuration only, where
`docker inspect` shows it. `init` reads those of `.env` from the file itself, so that they are in no
configuration. One that is set in the shell is refused, so that nobody takes it for the one in use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from server import settings
from server.errors import MistakeError
from server.settings import dotenv

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# In a container of `init`: the names, and not the values, of the secrets that Compose has seen, in
# `.env` or in the shell.
VARIABLE = "SECRETS_SET"
NAMES = settings.SECRETS - settings.FILE_ONLY


def check(env_file: Path = settings.ENV_FILE) -> None:
    """Refuse a secret that is set in the shell and that `env_file` does not hold.

    On the host a different value is refused too; in a container only the names are known.

    Raises:
        MistakeError: for the first such name.
    """
    entries = dotenv.read(env_file)
    in_file = {name for name, entry in entries.items() if entry.value}
    seen = set(os.environ.get(VARIABLE, "").split()) & NAMES
    different = {n for n in NAMES if os.environ.get(n) and not settings.of_file(n, entries)}
    _refuse(sorted((seen - in_file) | different))


def _refuse(names: Iterable[str]) -> None:
    for name in names:
        raise MistakeError(
            f"{name} in the environment does not reach a stack in Docker",
            expected=f"{name} in .env: from the environment, `docker inspect` would show it",
            found="a value that is not in .env (it is not shown)",
            do=f"write {name} into .env, and type: unset {name}",
        )
