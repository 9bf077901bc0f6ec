"""The three secrets of a stack, in files that only their owner can read.

Each secret has its own folder, so that a container can get one without the others:
`database/password`, `encryption/key` and `api/password`. They are generated at the first start
unless `.env` sets them. The first two cannot be changed after the first start; the last one follows
`.env`.
"""

from __future__ import annotations

import base64
import os
import secrets
import stat
from typing import TYPE_CHECKING

from server import passwords
from server.errors import MistakeError

if TYPE_CHECKING:
    import re
    from pathlib import Path

    from pydantic import SecretStr

    from server.settings import Settings

DATABASE_PASSWORD = "database/password"  # noqa: S105 - a file's name
ENCRYPTION_KEY = "encryption/key"
API_PASSWORD = "api/password"  # noqa: S105 - a file's name
PASSWORD_BYTES = 24
# Required only of new stacks: an older one with a shorter password keeps running, with a warning.
MIN_CHARACTERS = 12
FERNET_BYTES = 32
OWNER_ONLY = 0o400

# The pattern that the content of each file must match, and its description for messages.
CONTENTS: dict[str, tuple[re.Pattern[str], str]] = {
    DATABASE_PASSWORD: (passwords.ONE_LINE, f"a password, {passwords.IS_ONE_LINE}"),
    ENCRYPTION_KEY: (passwords.FERNET_KEY, passwords.IS_FERNET_KEY),
    API_PASSWORD: (passwords.BASIC_PASSWORD, f"a password, {passwords.IS_BASIC}"),
}
# The secrets that cannot be replaced, and the reason for messages.
IN_USE_BY = {
    DATABASE_PASSWORD: "the database keeps the password that it was made with",
    ENCRYPTION_KEY: "the secrets in blocks are encrypted with it",
}
VARIABLES = {DATABASE_PASSWORD: "POSTGRES_PASSWORD", ENCRYPTION_KEY: "ENCRYPTION_KEY"}


class DamagedError(MistakeError):
    """A secret is damaged, and only a person may still have its value."""


def ensure(settings: Settings, folder: Path, *, data_exist: bool = False) -> list[str]:
    """Create the secrets that are missing in `folder`, and return the names of the created files.

    An existing secret is overwritten in two cases: the password of the login, if `.env` sets
    another one, and a damaged secret, if `.env` sets its value. Files have mode 0400; if others
    have access to an existing one, their access is removed.

    Args:
        settings: of the stack.
        folder: of the secrets.
        data_exist: whether a database exists, which could not be opened with new secrets.

    Raises:
        MistakeError: `folder` cannot be written; a secret is damaged, or is missing although data
            exist; a value in `.env` differs from the one in use, or is too short for a new stack.
    """
    if not data_exist:
        _refuse_short(settings)
    configured = {
        DATABASE_PASSWORD: _plain(settings.postgres_password),
        ENCRYPTION_KEY: _plain(settings.encryption_key),
        API_PASSWORD: _plain(settings.stack_password),
    }
    for name, value in configured.items():
        _check(folder / name, value, data_exist=data_exist)
    return [name for name, value in configured.items() if _save(folder / name, value)]


def database_password(folder: Path) -> str:
    """The password of the database's user."""
    return read(folder / DATABASE_PASSWORD)


def encryption_key(folder: Path) -> str:
    """The Fernet key with which Prefect encrypts the secrets in blocks."""
    return read(folder / ENCRYPTION_KEY)


def api_password(settings: Settings, folder: Path) -> str:
    """The password for the API and the UI."""
    return _plain(settings.stack_password) or read(folder / API_PASSWORD)


def _plain(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""


def _fernet_key() -> str:
    # The same as cryptography's Fernet.generate_key, without importing it: health checks import
    # this module every few seconds.
    return base64.urlsafe_b64encode(os.urandom(FERNET_BYTES)).decode()


def _password() -> str:
    return secrets.token_urlsafe(PASSWORD_BYTES)


def read(path: Path) -> str:
    """The secret in `path`, which is one of the three files.

    Raises:
        DamagedError: the content is empty or not valid.
        MistakeError: the file does not exist or cannot be read.
    """
    try:
        value = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise _damaged(path, "a file that is not text") from None
    except OSError as error:
        raise MistakeError(
            f"the secret {_name(path)} cannot be read",
            expected="a file created by the stack's first start",
            found=str(error),
            do="scripts/stack up",
        ) from error
    pattern, _ = CONTENTS[_name(path)]
    if not value.strip():
        raise _damaged(path, "an empty file")
    if not pattern.fullmatch(value):
        raise _damaged(path, "something else (it is not shown)")
    return value


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _damaged(path: Path, found: str) -> DamagedError:
    name = _name(path)
    if name in IN_USE_BY:
        return _lost(path, found)
    return DamagedError(
        f"the secret {name} is damaged",
        expected=CONTENTS[name][1],
        found=f"{found}, {path}",
        do=f"set STACK_PASSWORD in .env, or remove {path}: then scripts/stack up makes a new one",
    )


def _lost(path: Path, found: str) -> DamagedError:
    """The error for a secret that cannot be replaced by a new value."""
    name = _name(path)
    return DamagedError(
        f"the secret {name} of this stack is lost",
        expected=f"{CONTENTS[name][1]}; {IN_USE_BY[name]}",
        found=f"{found}, {path}",
        do=f"write the value of your backup into .env as {VARIABLES[name]}; or, to start anew and "
        "LOSE ALL DATA, scripts/stack down --volumes",
    )


def _check(path: Path, value: str, *, data_exist: bool) -> None:
    """Check one secret; `value` is the one in `.env`, or empty.

    Raises:
        MistakeError: the secret is missing although data exist, is damaged, or differs from
            `value`.
    """
    name = _name(path)
    if not path.exists():
        if data_exist and name in VARIABLES and not value:
            raise _lost(path, "no such file")
        return
    _restrict_access(path)
    try:
        existing = read(path)
    except DamagedError:
        if value:  # it will replace the damaged secret
            return
        raise
    if name in VARIABLES and value and value != existing:
        raise MistakeError(
            f"{VARIABLES[name]} differs from the one that this stack was made with",
            expected="the first value, or none: the stack has kept it",
            found="another value (neither is shown)",
            do=f"take {VARIABLES[name]} out of .env; or, to start anew and LOSE ALL DATA, "
            "scripts/stack down --volumes",
        )


def _save(path: Path, value: str) -> bool:
    """Write `value` to `path`; if it is empty, keep the existing secret or generate a new one.

    Returns:
        True if the file did not exist.
    """
    if not path.exists():
        _write(path, value or (_fernet_key() if _name(path) == ENCRYPTION_KEY else _password()))
        return True
    if value and path.read_bytes() != value.encode():
        _write(path, value)
    return False


def _restrict_access(path: Path) -> None:
    """Remove everybody's access to a secret except its owner's.

    Raises:
        MistakeError: others have access, and the file belongs to another user.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077 == 0:
        return
    try:
        path.chmod(OWNER_ONLY)
    except OSError as error:
        raise MistakeError(
            f"the secret {_name(path)} is open to others",
            expected=f"a file of mode {OWNER_ONLY:04o}",
            found=f"mode {mode:04o} on a file that belongs to somebody else: {path}",
            do=f"as its owner or as root: chmod {OWNER_ONLY:o} {path}",
        ) from error


def _write(path: Path, value: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Written to a temporary file and renamed, so that a kill does not leave an empty secret.
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
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


def short_passwords(settings: Settings) -> dict[str, int]:
    """The lengths of those passwords in `settings` that are too short, by their names."""
    configured = {"POSTGRES_PASSWORD": settings.postgres_password}
    if settings.auth and not settings.remote:
        configured["STACK_PASSWORD"] = settings.stack_password
    lengths = {name: len(value.get_secret_value()) for name, value in configured.items() if value}
    return {name: length for name, length in lengths.items() if length < MIN_CHARACTERS}


def _refuse_short(settings: Settings) -> None:
    """Refuse passwords that are too short.

    Raises:
        MistakeError: a password is too short; the message names the first.
    """
    for name, length in short_passwords(settings).items():
        raise MistakeError(
            f"{name} is too short for a new stack",
            expected=f"at least {MIN_CHARACTERS} characters",
            found=f"{length}",
            do=f"choose a longer one, or leave {name} empty: then one is generated",
        )
