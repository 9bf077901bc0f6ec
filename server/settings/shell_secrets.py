"""Refuses secrets that are set in the shell: a stack in Docker reads secrets only from `.env`.

Compose could pass a variable of the shell to a container only through the container's
configuration, where `docker inspect` shows it. `init` reads the secrets from `.env` itself, so that
no configuration contains them. A secret in the shell would have no effect, so it is refused.
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

# Set in the container of `init`: the names, without values, of the secrets that Compose found in
# `.env` or in the shell.
VARIABLE = "SECRETS_SET"
NAMES = settings.SECRETS - settings.FILE_ONLY


def check(env_file: Path = settings.ENV_FILE) -> None:
    """Refuse a secret that is set in the shell but not in `env_file`.

    On the host, a secret with different values is refused as well; in a container, only the names
    are known.

    Raises:
        MistakeError: there is such a secret; the message names the first.
    """
    entries = dotenv.read(env_file)
    in_file = {name for name, entry in entries.items() if entry.value}
    seen_by_compose = set(os.environ.get(VARIABLE, "").split()) & NAMES
    different = {n for n in NAMES if os.environ.get(n) and not settings.of_file(n, entries)}
    _refuse(sorted((seen_by_compose - in_file) | different))


def _refuse(names: Iterable[str]) -> None:
    for name in names:
        raise MistakeError(
            f"{name} in the environment does not reach a stack in Docker",
            expected=f"{name} in .env: from the environment, `docker inspect` would show it",
            found="a value that is not in .env (it is not shown)",
            do=f"write {name} into .env, and type: unset {name}",
        )
