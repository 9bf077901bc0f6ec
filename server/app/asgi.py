"""The types of ASGI, and helpers that the layers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ASGIApp", "Message", "Receive", "Scope", "Send", "header", "headers", "refuse"]

POLICY_VIOLATION = 1008  # the status code for closing a websocket (RFC 6455)


def headers(scope: Scope, name: bytes) -> Iterator[str]:
    """Every value of the header `name`, which has to be in lower case."""
    return (value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name)


def header(scope: Scope, name: bytes) -> str | None:
    """The first value of the header `name`, or None."""
    return next(headers(scope, name), None)


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, why: str) -> None:
    """Answer a request with `status` and the reason `why`; refuse to open a websocket."""
    if scope["type"] == "websocket":
        await receive()  # the message websocket.connect
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": why})
        return
    # Prefect's clients read the message from this key.
    await JSONResponse({"exception_message": why}, status)(scope, receive, send)
