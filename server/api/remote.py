"""Remote servers: checks that one can be used, and passes its address and login to containers.

Most stacks run their own server. If `.env` names Prefect Cloud or a server on another machine
instead, bootstrap and worker use that server.
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

# In the folder of secrets that bootstrap and worker can read.
FILE = "api/remote"
# This path exists on every server and requires the login, and a GET needs no CSRF token.
PROBE = "/block_types/slug/secret"


def check(api: Api, where: str = ".env") -> None:
    """Check that a remote server can be used.

    Args:
        api: of the server.
        where: the place in which its address and login are set, for messages.

    Raises:
        MistakeError: the server refuses the login, answers with a redirect, or is not a Prefect
            server.
        StackError: the server cannot be reached, or answers with an error of its own.
    """
    try:
        answer = api.ask("GET", PROBE)
    except OSError as error:
        raise StackError(
            f"the server {redacted(api.url)} does not answer",
            expected="the API of a Prefect server that can be reached from here",
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
    target = urljoin(api.url + PROBE, answer.location or "")
    address = redacted(target).removesuffix(PROBE)
    return MistakeError(
        f"the server {redacted(api.url)} redirects to another address",
        expected="the API itself: a redirect is not followed, as it would pass on the login",
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
    """Save `api` in `folder`, readable only by its owner; with None, remove a saved one."""
    path = folder / FILE
    path.unlink(missing_ok=True)
    if api is not None:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as file:
            json.dump(asdict(api), file)


def read(folder: Path) -> Api | None:
    """The API that `save` wrote to `folder`; None if the stack runs its own server."""
    try:
        return Api(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
