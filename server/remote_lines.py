"""The lines of `.env` that name a remote server: what each may hold, and which go together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from server.errors import MistakeError
from server.remote import CLOUD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

    from server.settings import Settings

PATH = re.compile(r"(/[^?#]*)?/api(/accounts/[^/?#]+/workspaces/[^/?#]+)?")


def api_url(value: str) -> str:
    """`value`, when it is the address of an API.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(value)
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or "@" in parts.netloc
        or not PATH.fullmatch(value.removeprefix(f"{parts.scheme}://{parts.netloc}"))
    ):
        raise ValueError(
            "expected the address of an API: https://HOST/api, or Prefect Cloud's "
            f"{CLOUD}accounts/ID/workspaces/ID"
        )
    return value


def login(value: SecretStr) -> SecretStr:
    """`value`, when it is a login.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(r"[^:\s]+:[^\x00-\x1f\x7f]+", value.get_secret_value()):
        raise ValueError("expected a login of the form user:password")
    return value


def check(found: Settings, origins: Mapping[str, str]) -> None:
    """Refuse lines that do not go together.

    Args:
        found: the settings.
        origins: where each one stands.

    Raises:
        MistakeError: naming two that do not.
    """
    url, key, login = found.prefect_api_url, found.prefect_api_key, found.prefect_api_auth_string
    cloud = url is not None and url.startswith(CLOUD)
    if key and login:
        raise MistakeError(
            f"PREFECT_API_KEY in {origins['PREFECT_API_KEY']} does not go with "
            "PREFECT_API_AUTH_STRING",
            expected="a key for Prefect Cloud, or a login for a self-hosted server",
            found="both: the key would win, and a self-hosted server would answer 401",
            do="take one of them out of .env",
        )
    if (key or login) and url is None:
        name = "PREFECT_API_KEY" if key else "PREFECT_API_AUTH_STRING"
        raise MistakeError(
            f"{name} in {origins[name]} is of no use without PREFECT_API_URL",
            expected="the address of the remote server beside it",
            found="none",
            do=f"add PREFECT_API_URL to .env, or take {name} out",
        )
    if cloud and not key:
        raise MistakeError(
            f"PREFECT_API_URL in {origins['PREFECT_API_URL']} needs a key",
            expected="PREFECT_API_KEY beside the address of Prefect Cloud",
            found="none",
            do="add PREFECT_API_KEY to .env (Prefect Cloud makes it, under API Keys)",
        )
    if url and found.local_server:
        raise MistakeError(
            f"PREFECT_API_URL in {origins['PREFECT_API_URL']} names a remote server, and "
            "LOCAL_SERVER does not say so",
            expected="LOCAL_SERVER=0 in .env: Docker Compose cannot tell it from the address",
            found="LOCAL_SERVER=1, which is its default there",
            do="add the line LOCAL_SERVER=0 to .env",
        )
    if url is None and not found.local_server:
        raise MistakeError(
            f"LOCAL_SERVER in {origins.get('LOCAL_SERVER', 'the environment')} leaves the stack "
            "without a server",
            expected="PREFECT_API_URL in .env, with the address of a remote server",
            found="none",
            do="add PREFECT_API_URL to .env, or take LOCAL_SERVER out",
        )
