"""The three secrets of a stack: made once, in files that only their reader can open.

Each stands in a folder of its own, so that a container can be given one without the others:
`database/password`, `encryption/key` and `api/password`. A value set in `.env` wins over a
generated one. The first two are in use from the first start on and cannot be changed after it; the
last one follows `.env`.
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
# Asked of new stacks only: one that was made with a shorter password goes on, and is warned.
MIN_CHARACTERS = 12
FERNET_BYTES = 32
OWNER_ONLY = 0o400

# What each file has to hold, and how a message says that.
CONTENTS: dict[str, tuple[re.Pattern[str], str]] = {
    DATABASE_PASSWORD: (passwords.ONE_LINE, f"a password, {passwords.IS_ONE_LINE}"),
    ENCRYPTION_KEY: (passwords.FERNET_KEY, passwords.IS_FERNET_KEY),
    API_PASSWORD: (passwords.BASIC_PASSWORD, f"a password, {passwords.IS_BASIC}"),
}
# What is of no use without the first value, for a message.
IN_USE_BY = {
    DATABASE_PASSWORD: "the database keeps the password that it was made with",
    ENCRYPTION_KEY: "the secrets in blocks are encrypted with it",
}
VARIABLES = {DATABASE_PASSWORD: "POSTGRES_PASSWORD", ENCRYPTION_KEY: "ENCRYPTION_KEY"}


class DamagedError(MistakeError):
    """A secret is not what it was, and only a person can have the value."""


def ensure(settings: Settings, folder: Path, *, data_exist: bool = False) -> list[str]:
    """Make the secrets that are missing under `folder`; return the names of the files made.

    Nothing is overwritten but the login's password, where `.env` sets another, and what is
    damaged, where `.env` has the value. Files are of mode 0400; one that others could read is
    closed to them.

    Args:
        settings: of the stack.
        folder: where the secrets are.
        data_exist: whether there is a database already, which cannot be opened with new secrets.

    Raises:
        MistakeError: `folder` cannot be written; a secret is damaged, or missing while there are
            data; a value in `.env` differs from one in use, or is too short for a new stack.
    """
    if not data_exist:
        _refuse_short(settings)
    given = {
        DATABASE_PASSWORD: _plain(settings.postgres_password),
        ENCRYPTION_KEY: _plain(settings.encryption_key),
        API_PASSWORD: _plain(settings.stack_password),
    }
    for name, value in given.items():
        _check(folder / name, value, data_exist=data_exist)
    return [name for name, value in given.items() if _make(folder / name, value)]


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
    """The secret in `path`, one of the three.

    Raises:
        DamagedError: it is empty, or not what it has to be.
        MistakeError: there is none, or it cannot be read.
    """
    try:
        value = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise _damaged(path, "a file that is no text") from None
    except OSError as error:
        raise MistakeError(
            f"the secret {_name(path)} cannot be read",
            expected="a file made by the stack's first start",
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
    """A secret that no new value can take the place of."""
    name = _name(path)
    return DamagedError(
        f"the secret {name} of this stack is lost",
        expected=f"{CONTENTS[name][1]}; {IN_USE_BY[name]}",
        found=f"{found}, {path}",
        do=f"write the value of your backup into .env as {VARIABLES[name]}; or, to start anew and "
        "LOSE ALL DATA, scripts/stack down --volumes",
    )


def _check(path: Path, value: str, *, data_exist: bool) -> None:
    """Refuse what is wrong with one secret, of which `.env` gives `value` or nothing."""
    name = _name(path)
    if not path.exists():
        if data_exist and name in VARIABLES and not value:
            raise _lost(path, "no such file")
        return
    _close(path)
    try:
        kept = read(path)
    except DamagedError:
        if value:  # which takes its place
            return
        raise
    if name in VARIABLES and value and value != kept:
        raise MistakeError(
            f"{VARIABLES[name]} differs from the one that this stack was made with",
            expected="the first value, or none: the stack has kept it",
            found="another value (neither is shown)",
            do=f"take {VARIABLES[name]} out of .env; or, to start anew and LOSE ALL DATA, "
            "scripts/stack down --volumes",
        )


def _make(path: Path, value: str) -> bool:
    """Have `value` in `path`, or where there is none what is there or is generated.

    True when there was no file.
    """
    if not path.exists():
        _write(path, value or (_fernet_key() if _name(path) == ENCRYPTION_KEY else _password()))
        return True
    if value and path.read_bytes() != value.encode():
        _write(path, value)
    return False


def _close(path: Path) -> None:
    """Take the right to a secret from everybody but its owner.

    Raises:
        MistakeError: others can read or write it, and it belongs to somebody else.
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
        # Written whole before it has its name, so that a kill leaves no empty secret behind.
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
    """The passwords of `settings` that are too short, by name, with the characters they have."""
    given = {"POSTGRES_PASSWORD": settings.postgres_password}
    if settings.auth and not settings.remote:
        given["STACK_PASSWORD"] = settings.stack_password
    lengths = {name: len(value.get_secret_value()) for name, value in given.items() if value}
    return {name: length for name, length in lengths.items() if length < MIN_CHARACTERS}


def _refuse_short(settings: Settings) -> None:
    """Refuse a password that is too short.

    Raises:
        MistakeError: for the first one.
    """
    for name, length in short_passwords(settings).items():
        raise MistakeError(
            f"{name} is too short for a new stack",
            expected=f"at least {MIN_CHARACTERS} characters",
            found=f"{length}",
            do=f"choose a longer one, or leave {name} empty: then one is generated",
        )
