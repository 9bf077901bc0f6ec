"""The API of a Prefect server: what it is called with, and whether it takes that.

Most stacks call their own. Where `.env` names another, Prefect Cloud or a server on another
machine, bootstrap and worker use that one. Little is imported, since health checks come this way
every few seconds.
"""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from server.errors import MistakeError, StackError
from server.probe import HTTP_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CLIENT = "stack"
CLOUD = "https://api.prefect.cloud/api/"
CLOUD_UI = "https://app.prefect.cloud/"
# Beside the password of the stack's own login: what bootstrap and worker are given of secrets.
FILE = "api/remote"
# Every server has it, it asks for the login, and GET needs no CSRF token.
PROBE = "/block_types/slug/secret"


@dataclass(frozen=True)
class Answer:
    """What an API has said."""

    asked: str  # method and path
    status: int
    content: bytes
    time: float | None  # the server's clock, in seconds of the epoch
    location: str | None = None  # where a redirect leads; it is not followed

    def json(self) -> Any:
        """The content.

        Raises:
            ValueError: the answer is an error or a redirect, or no JSON.
        """
        if self.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise ValueError(f"{self.asked} answers {self.status}")
        return json.loads(self.content)


@dataclass(frozen=True)
class Api:
    """The API of one server, with the login `user:password` or the key that it asks for.

    `csrf` is whether it may want a token of whoever writes; `timeout` is in seconds.
    """

    url: str
    login: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    csrf: bool = True
    timeout: float = HTTP_TIMEOUT

    @property
    def ui_url(self) -> str:
        """The address for a browser, as Prefect derives it."""
        if self.url.startswith(CLOUD):
            path = self.url.removeprefix(CLOUD)
            return CLOUD_UI + path.replace("accounts/", "account/").replace(
                "workspaces/", "workspace/"
            )
        return self.url.removesuffix("/api")

    def environment(self) -> dict[str, str]:
        """What makes Prefect a client of it."""
        values = {
            "PREFECT_API_URL": self.url,
            "PREFECT_API_KEY": self.key,
            "PREFECT_API_AUTH_STRING": self.login,
        }
        return {name: value for name, value in values.items() if value}

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Call it, with a CSRF token where one is needed to write.

        Raises:
            OSError: no answer.
        """
        headers = {"Content-Type": "application/json", **self._authorization()}
        if method != "GET" and self.csrf:
            headers |= self._csrf()
        return self._request(method, path, None if body is None else json.dumps(body), headers)

    def _csrf(self) -> Mapping[str, str]:
        answer = self._request("GET", f"/csrf-token?client={CLIENT}", None, self._authorization())
        if answer.status != HTTPStatus.OK:  # it asks for none
            return {}
        return {"Prefect-Csrf-Token": answer.json()["token"], "Prefect-Csrf-Client": CLIENT}

    def _authorization(self) -> dict[str, str]:
        if self.key:
            return {"Authorization": f"Bearer {self.key}"}
        if self.login:
            return {"Authorization": "Basic " + base64.b64encode(self.login.encode()).decode()}
        return {}

    def _request(
        self, method: str, path: str, body: str | None, headers: Mapping[str, str]
    ) -> Answer:
        request = urllib.request.Request(  # noqa: S310 - the settings take http and https only
            self.url + path, body.encode() if body else None, dict(headers), method=method
        )
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        if self.url.startswith("https:"):
            context = ssl.create_default_context(cafile=_authorities())
            handlers.append(urllib.request.HTTPSHandler(context=context))
        try:
            answer = urllib.request.build_opener(*handlers).open(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            date = answer.headers.get("Date")
            time = parsedate_to_datetime(date).timestamp() if date else None
            location = answer.headers.get("Location")
            return Answer(f"{method} {path}", answer.status, answer.read(), time, location)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Answers with a redirect itself: followed, it would take the login or the key elsewhere."""

    def redirect_request(self, *_: object) -> None:
        """Follow none."""


def redacted(address: str) -> str:
    """`address` without what may be a login or a key in it, for a message."""
    without_login = re.sub(r"^([A-Za-z]+://)?.*@", r"\1...@", address)
    return re.sub(r"[?#].*", "?...", without_login)


def _authorities() -> str:
    """The certificates that Prefect's own client trusts."""
    import certifi  # noqa: PLC0415 - most stacks speak HTTP to themselves

    return os.environ.get("SSL_CERT_FILE") or certifi.where()


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
