"""Refuses whole numbers that the server would take and could never show again.

PostgreSQL keeps a parameter beyond 64 bits, and from then on every list with that row answers 500,
also in the UI (upstream #15031, open).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from server.app.asgi import refuse

if TYPE_CHECKING:
    from server.app.asgi import ASGIApp, Message, Receive, Scope, Send

# No number of fewer digits is too long. Most bodies have no such row of digits and are not parsed.
MAY_BE_TOO_LONG = re.compile(rb"\d{19}")
SMALLEST, LARGEST = -(2**63), 2**63 - 1
LONGEST = len(str(SMALLEST))  # characters
SHOWN = 40  # characters of a number in a message
WRITES = frozenset({"POST", "PUT", "PATCH"})
UNPROCESSABLE = 422


class Integers:
    """Reads the bodies of writes before the app does."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before `app`."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with the number in its answer."""
        if scope["type"] != "http" or scope["method"] not in WRITES:
            await self.app(scope, receive, send)
            return
        messages = await _whole(receive)
        body = b"".join(each.get("body", b"") for each in messages)
        number = too_long(body) if MAY_BE_TOO_LONG.search(body) else None
        if number is None:
            await self.app(scope, _replayed(messages, receive), send)
            return
        why = f"expected whole numbers of 64 bits, or texts; found {number}"
        await refuse(scope, receive, send, UNPROCESSABLE, why)


def too_long(body: bytes) -> str | None:
    """The first number in a JSON text that is longer than 64 bits; what is no JSON has none.

    A very long one is cut.
    """
    found: list[str] = []

    def read(digits: str) -> int:
        # Python refuses to convert a text of thousands of digits, and need not be asked.
        if len(digits) > LONGEST or not SMALLEST <= int(digits) <= LARGEST:
            found.append(digits if len(digits) <= SHOWN else f"{digits[:SHOWN]}...")
        return 0

    try:
        json.loads(body, parse_int=read)
    except ValueError:
        return None
    return found[0] if found else None


async def _whole(receive: Receive) -> list[Message]:
    """All messages of a request's body; its last is another one where the client has gone."""
    messages = [await receive()]
    while messages[-1].get("more_body", False):
        messages.append(await receive())
    return messages


def _replayed(messages: list[Message], receive: Receive) -> Receive:
    """Gives `messages` once more, and then what comes after them."""
    left = iter(messages)

    async def replay() -> Message:
        for message in left:
            return message
        return await receive()

    return replay
