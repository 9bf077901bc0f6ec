"""A minimal client of Prefect's API. Sending a request twice has the same effect as once."""

from __future__ import annotations

import base64
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
import uuid
from typing import Any

REQUEST_SECONDS = 10.0


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """The server refuses all requests: the login or the address is wrong."""


class Dropped(Exception):  # noqa: N818 - an answer, not a fault
    """The server will never accept this request."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Treats a redirect as an answer: following it would send the credentials elsewhere."""

    def redirect_request(self, *_: object) -> None:
        """Follow no redirect."""


OPENER = urllib.request.build_opener(_NoRedirects())


class Server:
    """The API at `PREFECT_API_URL`."""

    def __init__(self) -> None:
        self._flows: dict[str, str] = {}
        self._csrf: dict[str, str] = {}

    def flow(self, name: str) -> str:
        """Return the id of the flow; create the flow if there is none of this name."""
        if name not in self._flows:
            try:
                self._flows[name] = str(self.post("/flows/", {"name": name})["id"])
            except Dropped as error:
                raise Refused(str(error)) from error
        return self._flows[name]

    def post(self, path: str, body: object) -> Any:
        """Send a request and return the answer.

        Raises:
            Refused: The server refuses all requests.
            Dropped: The server will never accept this request.
            OSError: There is no answer; or, as `HTTPError`, one after which it may be sent again.
            HTTPException: The answer is incomplete or not HTTP.
            ValueError: The answer is not JSON.
        """
        try:
            return self._request(path, body)
        except urllib.error.HTTPError as error:
            said = error.read(500).decode(errors="replace")
            if error.code == http.client.FORBIDDEN and "CSRF" in said:
                self._csrf = self._token()
                return self._request(path, body)
            if http.client.MULTIPLE_CHOICES <= error.code < http.client.BAD_REQUEST:
                host = urllib.parse.urlsplit(error.headers.get("Location") or "").hostname
                raise Refused(
                    f"the server redirects to {host or 'another path'} ({error.code}), where the "
                    "login is not sent: PREFECT_API_URL has to be the address of the API itself"
                ) from error
            if error.code in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
                raise Refused(f"the server refuses the login ({error.code})") from error
            if error.code in {http.client.REQUEST_TIMEOUT, http.client.TOO_MANY_REQUESTS}:
                raise
            if http.client.BAD_REQUEST <= error.code < http.client.INTERNAL_SERVER_ERROR:
                raise Dropped(f"{path} was answered with {error.code}: {said}") from error
            raise

    def _token(self) -> dict[str, str]:
        client = uuid.uuid4().hex
        token = self._request(f"/csrf-token?client={client}")["token"]
        return {"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": token}

    def _request(self, path: str, body: object = None) -> Any:
        headers = {"Content-Type": "application/json", **self._csrf}
        if key := os.environ.get("PREFECT_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        elif login := os.environ.get("PREFECT_API_AUTH_STRING"):
            headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        data = None if body is None else json.dumps(body).encode()
        address = os.environ["PREFECT_API_URL"].rstrip("/") + path
        request = urllib.request.Request(address, data, headers)  # noqa: S310 - the user configures the address
        with OPENER.open(request, timeout=REQUEST_SECONDS) as answer:
            text = answer.read()
        return json.loads(text) if text else None
