"""Calls the API of a Prefect server with the standard library.

Little is imported, since health checks come this way every few seconds.
"""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from server.api.http_check import HTTP_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Mapping

CLIENT = "stack"
CLOUD = "https://api.prefect.cloud/api/"
CLOUD_UI = "https://app.prefect.cloud/"


@dataclass(frozen=True)
class Answer:
    """The answer of an API."""

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
        """The environment that makes Prefect a client of this API."""
        values = {
            "PREFECT_API_URL": self.url,
            "PREFECT_API_KEY": self.key,
            "PREFECT_API_AUTH_STRING": self.login,
        }
        return {name: value for name, value in values.items() if value}

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Send a request, with a CSRF token where the server asks for one.

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
