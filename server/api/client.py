"""A small client of a Prefect server's API, built on the standard library.

It imports little, because health checks start it every few seconds.
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
    """The response to one request."""

    asked: str  # the method and path of the request
    status: int
    content: bytes
    time: float | None  # the server's clock, in seconds since the epoch
    location: str | None = None  # the target of a redirect, which is not followed

    def json(self) -> Any:
        """The parsed content.

        Raises:
            ValueError: the response is an error or a redirect, or is not JSON.
        """
        if self.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise ValueError(f"{self.asked} answers {self.status}")
        return json.loads(self.content)


@dataclass(frozen=True)
class Api:
    """The address of a server's API, and how to authenticate: with a login, a key or neither."""

    url: str
    login: str = field(default="", repr=False)  # user:password
    key: str = field(default="", repr=False)
    csrf: bool = True  # whether the server may require a CSRF token for writes
    timeout: float = HTTP_TIMEOUT  # seconds

    @property
    def ui_url(self) -> str:
        """The address of the UI, derived from the API's as Prefect does it."""
        if self.url.startswith(CLOUD):
            path = self.url.removeprefix(CLOUD)
            return CLOUD_UI + path.replace("accounts/", "account/").replace(
                "workspaces/", "workspace/"
            )
        return self.url.removesuffix("/api")

    def environment(self) -> dict[str, str]:
        """The environment variables with which Prefect's client uses this API."""
        values = {
            "PREFECT_API_URL": self.url,
            "PREFECT_API_KEY": self.key,
            "PREFECT_API_AUTH_STRING": self.login,
        }
        return {name: value for name, value in values.items() if value}

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Send a request, with a CSRF token if the server requires one.

        Raises:
            OSError: there was no response.
        """
        headers = {"Content-Type": "application/json", **self._authorization()}
        if method != "GET" and self.csrf:
            headers |= self._csrf()
        return self._request(method, path, None if body is None else json.dumps(body), headers)

    def _csrf(self) -> Mapping[str, str]:
        answer = self._request("GET", f"/csrf-token?client={CLIENT}", None, self._authorization())
        if answer.status != HTTPStatus.OK:  # the server requires no token
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
        request = urllib.request.Request(  # noqa: S310 - the settings accept only http and https
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
    """Does not follow redirects, which would send the login or the key to another address."""

    def redirect_request(self, *_: object) -> None:
        """Return None, so that the redirect itself becomes the response."""


def redacted(address: str) -> str:
    """`address` for a message, without the parts that may contain a login or a key."""
    without_login = re.sub(r"^([A-Za-z]+://)?.*@", r"\1...@", address)
    return re.sub(r"[?#].*", "?...", without_login)


def _authorities() -> str:
    """The file of certificate authorities that Prefect's own client trusts."""
    import certifi  # noqa: PLC0415 - most stacks use HTTP and do not need it

    return os.environ.get("SSL_CERT_FILE") or certifi.where()
