"""Closes some pages of Prefect's app, and refuses logins on which it would fail."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from server.app.asgi import header, refuse

if TYPE_CHECKING:
    from server.app.asgi import ASGIApp, Receive, Scope, Send

# FastAPI's documentation of the API. These pages require no login and load scripts from a CDN, in
# the same origin in which the UI stores the login. Each of Prefect's three apps has them.
PAGES = ("/docs", "/docs/oauth2-redirect", "/redoc")
CLOSED = frozenset({*PAGES, *(f"/api{page}" for page in PAGES)})
NOT_FOUND, UNAUTHORIZED = 404, 401


class Gates:
    """Answers 404 for closed pages, and 401 for logins that Prefect cannot compare."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] == "http" and _is_closed(scope["path"]):
            await refuse(scope, receive, send, NOT_FOUND, "Not Found")
        elif scope["type"] == "http" and not _can_be_compared(header(scope, b"authorization")):
            await refuse(scope, receive, send, UNAUTHORIZED, "Unauthorized")
        else:
            await self.app(scope, receive, send)


def _is_closed(path: str) -> bool:
    return (path.rstrip("/") or "/") in CLOSED


def _can_be_compared(authorization: str | None) -> bool:
    """Whether Prefect can compare this header with its login: it answers 500 unless it is ASCII."""
    if authorization is None:
        return True
    if not authorization.isascii():
        return False
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return True
    try:
        return base64.b64decode(credentials).isascii()
    except binascii.Error:
        return True  # Prefect answers 401
