"""A server that is not the stack's own: whether it can be used, and how containers hear of it.

Most stacks call their own server. Where `.env` names another, Prefect Cloud or a server on another
machine, bootstrap and worker use that one.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from server.api.client import CLOUD, Answer, Api, redacted
from server.errors import MistakeError, StackError

if TYPE_CHECKING:
    from pathlib import Path

# Beside the password of the stack's own login: what bootstrap and worker are given of secrets.
FILE = "api/remote"
# Every server has it, it asks for the login, and GET needs no CSRF token.
PROBE = "/block_types/slug/secret"


def check(api: Api, where: str = ".env") -> None:
    """Call a server that is not the stack's own, to see whether it can be used.

    Args:
        api: of the server.
        where: its address and login are set, for a message.

    Raises:
        MistakeError: it does not take the login, sends elsewhere, or is no Prefect server.
        StackError: it does not answer, or only with a fault.
    """
    try:
        answer = api.ask("GET", PROBE)
    except OSError as error:
        raise StackError(
            f"the server {redacted(api.url)} does not answer",
            expected="the API of a Prefect server, from here",
            found=str(getattr(error, "reason", error)),
            do=f"correct PREFECT_API_URL in {where}, or try again when the server is there",
        ) from None
    status = answer.status
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise _redirected(api, where, answer)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise _refused(api, where, status)
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        raise MistakeError(
            f"there is no Prefect server at {redacted(api.url)}",
            expected="the address of an API, as in `prefect config view` of a client of it",
            found=f"an answer {status}",
            do=f"correct PREFECT_API_URL in {where}",
        )
    if status != HTTPStatus.OK:
        raise StackError(
            f"the server {redacted(api.url)} has a fault",
            expected="an answer 200",
            found=str(status),
            do="try again when it has recovered",
        )


def _redirected(api: Api, where: str, answer: Answer) -> MistakeError:
    to = urljoin(api.url + PROBE, answer.location or "")
    address = redacted(to).removesuffix(PROBE)
    return MistakeError(
        f"the server {redacted(api.url)} sends to another address",
        expected="the API itself: a redirect is not followed, since that would hand on the login",
        found=f"{answer.status} to {address}",
        do=f"if that is your server, write {address} as PREFECT_API_URL in {where}",
    )


def _refused(api: Api, where: str, status: int) -> MistakeError:
    if api.url.startswith(CLOUD):
        expected, do = "a key of this workspace", f"correct PREFECT_API_KEY in {where}"
    else:
        expected = "the login of a self-hosted server, user:password"
        verb = "correct" if api.login else "set"
        do = f"{verb} PREFECT_API_AUTH_STRING in {where}"
        do += ", and take PREFECT_API_KEY out: it is for Prefect Cloud" if api.key else ""
    found = "a key" if api.key else "a login" if api.login else "neither key nor login"
    return MistakeError(
        f"the server {redacted(api.url)} does not let the stack in",
        expected=expected,
        found=f"{found}, answered with {status}",
        do=do,
    )


def save(api: Api | None, folder: Path) -> None:
    """Keep `api` under `folder`, in a file for its owner only, or remove the one that is there."""
    path = folder / FILE
    path.unlink(missing_ok=True)
    if api is not None:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as file:
            json.dump(asdict(api), file)


def read(folder: Path) -> Api | None:
    """The API that was kept under `folder`; None where the stack has a server of its own."""
    try:
        return Api(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
