"""Requests to the server's API, each of which may be sent twice and then counts once."""

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
    """The server takes no request of ours: the login or the address is wrong."""


class Dropped(Exception):  # noqa: N818 - an answer, not a fault
    """The server will never take this one request."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Lets a redirect be an answer: followed, it would take the login or the key elsewhere."""

    def redirect_request(self, *_: object) -> None:
        """Follow none."""


OPENER = urllib.request.build_opener(_NoRedirects())


class Server:
    """The API at `PREFECT_API_URL`."""

    def __init__(self) -> None:
        self._flows: dict[str, str] = {}
        self._csrf: dict[str, str] = {}

    def flow(self, name: str) -> str:
        """The id of the flow, made where there is none."""
        if name not in self._flows:
            try:
                self._flows[name] = str(self.post("/flows/", {"name": name})["id"])
            except Dropped as error:
                raise Refused(str(error)) from error
        return self._flows[name]

    def post(self, path: str, body: object) -> Any:
        """What the server answers.

        Raises Refused or Dropped; OSError (of which HTTPError is one, for the server's own faults),
        HTTPException or ValueError where there is no answer that could be read.
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
                    f"the server sends to {host or 'another path'} ({error.code}), where the login "
                    "is not sent: PREFECT_API_URL has to be the address of the API itself"
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
        request = urllib.request.Request(address, data, headers)  # noqa: S310 - the user's own
        with OPENER.open(request, timeout=REQUEST_SECONDS) as answer:
            text = answer.read()
        return json.loads(text) if text else None
