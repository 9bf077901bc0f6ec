"""The three secrets of a stack: made once, in files that only their reader can open.

Each stands in a folder of its own, so that a container can be given one without the others:
`database/password`, `encryption/key` and `api/password`. A value set in `.env` wins over a
generated one; the first two are in use from the first start on and cannot be changed after it.
"""

from __future__ import annotations

import base64
import os
import secrets
from typing import TYPE_CHECKING

from server.errors import MistakeError

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import SecretStr

    from server.settings import Settings

DATABASE_PASSWORD = "database/password"  # noqa: S105 - a file's name
ENCRYPTION_KEY = "encryption/key"
API_PASSWORD = "api/password"  # noqa: S105 - a file's name
PASSWORD_BYTES = 24
FERNET_BYTES = 32


def ensure(settings: Settings, folder: Path) -> list[str]:
    """Make the secrets that are missing under `folder`; return the names of the files made.

    Never overwrites a file. Files are of mode 0400.

    Raises:
        MistakeError: `folder` cannot be written, or a value in `.env` differs from one in use.
    """
    _refuse_change("POSTGRES_PASSWORD", settings.postgres_password, folder / DATABASE_PASSWORD)
    _refuse_change("ENCRYPTION_KEY", settings.encryption_key, folder / ENCRYPTION_KEY)
    wanted = {
        DATABASE_PASSWORD: _plain(settings.postgres_password) or _password(),
        ENCRYPTION_KEY: _plain(settings.encryption_key) or _fernet_key(),
        API_PASSWORD: _password(),
    }
    return [name for name, value in wanted.items() if _create(folder / name, value)]


def database_password(folder: Path) -> str:
    """The password of the database's user."""
    return read(folder / DATABASE_PASSWORD)


def encryption_key(folder: Path) -> str:
    """The Fernet key that Prefect encrypts the secrets of blocks with."""
    return read(folder / ENCRYPTION_KEY)


def api_password(settings: Settings, folder: Path) -> str:
    """The password of the login to API and UI."""
    return _plain(settings.stack_password) or read(folder / API_PASSWORD)


def _plain(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""


def _fernet_key() -> str:
    # As cryptography's Fernet.generate_key does, without the import: health checks come this way.
    return base64.urlsafe_b64encode(os.urandom(FERNET_BYTES)).decode()


def _password() -> str:
    return secrets.token_urlsafe(PASSWORD_BYTES)


def read(path: Path) -> str:
    """The secret in `path`.

    Raises:
        MistakeError: there is none, or it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise MistakeError(
            f"the secret {path.parent.name}/{path.name} cannot be read",
            expected="a file made by the stack's first start",
            found=str(error),
            do="scripts/stack up",
        ) from error


def _refuse_change(name: str, value: SecretStr | None, path: Path) -> None:
    if value and path.exists() and read(path) != value.get_secret_value():
        raise MistakeError(
            f"{name} differs from the one that this stack was made with",
            expected="the first value, or none: the stack has kept it",
            found="another value (neither is shown)",
            do=f"take {name} out of .env; or, to start anew and LOSE ALL DATA, "
            "scripts/stack down --volumes",
        )


def _create(path: Path, value: str) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists():
            return False
        # Written whole before it has its name, so that a kill leaves no empty secret behind.
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    except OSError as error:
        raise MistakeError(
            f"the folder for secrets, {path.parent}, cannot be written",
            expected="a folder that the user of the stack may write",
            found=str(error),
            do="correct its owner or its mode, then start the stack again",
        ) from error
    return True
