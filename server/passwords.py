"""The valid forms of passwords, user names and keys."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import SecretStr

# HTTP Basic does not define how other characters are encoded, and Prefect's server answers 500 to
# them: it compares with `secrets.compare_digest`, which accepts only ASCII.
BASIC_PASSWORD = re.compile(r"[ -~]+")
BASIC_USER = re.compile(r"[!-9;-~]+")
ONE_LINE = re.compile(r"[^\x00-\x1f\x7f]+")
# The part of a header after `Authorization: Bearer`.
BEARER = re.compile(r"[!-~]+")
# 32 bytes in either alphabet of base64: cryptography's Fernet accepts both.
FERNET_KEY = re.compile(r"[A-Za-z0-9+/_-]{43}=")

IS_BASIC = "one line of ASCII characters: HTTP's login takes no others"
IS_ONE_LINE = "one line without control characters"
IS_BEARER = "one line of ASCII characters without a space"
IS_FERNET_KEY = "a Fernet key: 32 bytes in URL-safe base64"


def basic(value: SecretStr) -> SecretStr:
    """Return `value`, or raise ValueError if it cannot be the password of an HTTP login."""
    return _matching(value, BASIC_PASSWORD, IS_BASIC)


def one_line(value: SecretStr) -> SecretStr:
    """Return `value`, or raise ValueError if it is not a single line."""
    return _matching(value, ONE_LINE, IS_ONE_LINE)


def bearer(value: SecretStr) -> SecretStr:
    """Return `value`, or raise ValueError if it cannot be the key in an HTTP header."""
    return _matching(value, BEARER, IS_BEARER)


def fernet_key(value: SecretStr) -> SecretStr:
    """Return `value`, or raise ValueError if it is not a key with which Prefect can encrypt."""
    return _matching(value, FERNET_KEY, IS_FERNET_KEY)


def _matching(value: SecretStr, pattern: re.Pattern[str], expected: str) -> SecretStr:
    if not pattern.fullmatch(value.get_secret_value()):
        raise ValueError(f"expected {expected}")
    return value
