"""Refuses integers that the server would store but could never return again.

PostgreSQL accepts a parameter of more than 64 bits; from then on the server answers 500 for every
list that contains its row, also in the UI (upstream #15031, open).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from server.app.asgi import refuse

if TYPE_CHECKING:
    from server.app.asgi import ASGIApp, Message, Receive, Scope, Send

# Numbers with fewer digits always fit into 64 bits. Most bodies do not match, and are not parsed.
MAY_BE_TOO_LONG = re.compile(rb"\d{19}")
SMALLEST, LARGEST = -(2**63), 2**63 - 1
LONGEST = len(str(SMALLEST))  # characters
SHOWN = 40  # characters of a number that a message shows
WRITES = frozenset({"POST", "PUT", "PATCH"})
UNPROCESSABLE = 422


class Integers:
    """Refuses writes whose JSON contains an integer of more than 64 bits."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 422 with a message that shows the number."""
        if scope["type"] != "http" or scope["method"] not in WRITES:
            await self.app(scope, receive, send)
            return
        messages = await _receive_body(receive)
        body = b"".join(message.get("body", b"") for message in messages)
        number = too_long(body) if MAY_BE_TOO_LONG.search(body) else None
        if number is None:
            await self.app(scope, _replay(messages, receive), send)
            return
        why = f"expected whole numbers of 64 bits, or texts; found {number}"
        await refuse(scope, receive, send, UNPROCESSABLE, why)


def too_long(body: bytes) -> str | None:
    """The first integer in a JSON text that needs more than 64 bits, shortened if it is very long.

    None if there is no such integer, or if `body` is not JSON.
    """
    too_large: list[str] = []

    def parse_int(digits: str) -> int:
        # The length is checked first, because int() raises for a string of thousands of digits.
        if len(digits) > LONGEST or not SMALLEST <= int(digits) <= LARGEST:
            too_large.append(digits if len(digits) <= SHOWN else f"{digits[:SHOWN]}...")
        return 0

    try:
        json.loads(body, parse_int=parse_int)
    except ValueError:
        return None
    return too_large[0] if too_large else None


async def _receive_body(receive: Receive) -> list[Message]:
    """All messages of a request's body; if the client disconnects, the last one says so."""
    messages = [await receive()]
    while messages[-1].get("more_body", False):
        messages.append(await receive())
    return messages


def _replay(messages: list[Message], receive: Receive) -> Receive:
    """A `receive` that returns `messages` again before it receives new ones."""
    remaining = iter(messages)

    async def replay() -> Message:
        for message in remaining:
            return message
        return await receive()

    return replay
