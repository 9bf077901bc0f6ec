"""What of Prefect's app is closed, and what it cannot read."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from server.app.asgi import header, refuse

if TYPE_CHECKING:
    from server.app.asgi import ASGIApp, Receive, Scope, Send

# The pages of FastAPI that show the API. They ask for no login and load scripts from a CDN, on the
# origin at which the UI keeps the login. Each of Prefect's three apps has them.
PAGES = ("/docs", "/docs/oauth2-redirect", "/redoc")
CLOSED = frozenset({*PAGES, *(f"/api{page}" for page in PAGES)})
NOT_FOUND, UNAUTHORIZED = 404, 401


class Gates:
    """Answers for Prefect's app where it must not, or cannot."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before `app`."""
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
    """Whether Prefect can compare this header with its login; what is not ASCII ends in 500."""
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
