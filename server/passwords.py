"""What a password, a user and a key may look like, and how long a password has to be.

The length is asked of new stacks only: one that was made with a shorter password goes on, warned.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from server.errors import MistakeError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from server.settings import Settings

MIN_CHARACTERS = 12
# HTTP Basic leaves open how other characters are encoded, and Prefect's server answers them with
# 500: it compares with `secrets.compare_digest`, which takes only ASCII.
BASIC_PASSWORD = re.compile(r"[ -~]+")
BASIC_USER = re.compile(r"[!-9;-~]+")
ONE_LINE = re.compile(r"[^\x00-\x1f\x7f]+")
# What stands behind `Authorization: Bearer`.
BEARER = re.compile(r"[!-~]+")
# 32 bytes. Both alphabets of base64, as cryptography's Fernet takes both.
FERNET_KEY = re.compile(r"[A-Za-z0-9+/_-]{43}=")

IS_BASIC = "one line of ASCII characters: HTTP's login takes no others"
IS_ONE_LINE = "one line without control characters"
IS_BEARER = "one line of ASCII characters without a space"
IS_FERNET_KEY = "a Fernet key: 32 bytes in URL-safe base64"


def basic(value: SecretStr) -> SecretStr:
    """`value`, when it can be the password of an HTTP login; else ValueError."""
    return _matching(value, BASIC_PASSWORD, IS_BASIC)


def one_line(value: SecretStr) -> SecretStr:
    """`value`, when it is one line; else ValueError."""
    return _matching(value, ONE_LINE, IS_ONE_LINE)


def bearer(value: SecretStr) -> SecretStr:
    """`value`, when it can be a key that HTTP carries; else ValueError."""
    return _matching(value, BEARER, IS_BEARER)


def fernet_key(value: SecretStr) -> SecretStr:
    """`value`, when Prefect can encrypt with it; else ValueError."""
    return _matching(value, FERNET_KEY, IS_FERNET_KEY)


def _matching(value: SecretStr, pattern: re.Pattern[str], expected: str) -> SecretStr:
    if not pattern.fullmatch(value.get_secret_value()):
        raise ValueError(f"expected {expected}")
    return value


def short(settings: Settings) -> dict[str, int]:
    """The passwords of `settings` that are too short, by name, with the characters they have."""
    given = {"POSTGRES_PASSWORD": settings.postgres_password}
    if settings.auth and not settings.remote:
        given["STACK_PASSWORD"] = settings.stack_password
    lengths = {name: len(value.get_secret_value()) for name, value in given.items() if value}
    return {name: length for name, length in lengths.items() if length < MIN_CHARACTERS}


def refuse_short(settings: Settings) -> None:
    """Refuse a password that is too short.

    Raises:
        MistakeError: for the first one.
    """
    for name, length in short(settings).items():
        raise MistakeError(
            f"{name} is too short for a new stack",
            expected=f"at least {MIN_CHARACTERS} characters",
            found=f"{length}",
            do=f"choose a longer one, or leave {name} empty: then one is generated",
        )
