"""What requests are answered while the database is away.

Prefect answers 500 when it cannot connect to PostgreSQL, and its clients give up on 500: runs that
had done their work were Crashed, others stayed Pending for ever. Here an outage is answered with
503 and the header `Prefect-Maintenance: true`, which Prefect's clients wait out, however long it
takes (prefect/client/base.py, `_send_with_retry`).

A client repeats what it was told so, and what it repeats may be done already: only when the
connection was cut in the very moment of the COMMIT, since before it nothing is kept. Repeating is
harmless for what reads, for what sets (a state, with the id of its transition; a value) and for
what is known by a name or key. What would be there twice is in `ONCE`: after a cut in the COMMIT it
answers 500, which clients do not repeat.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import TYPE_CHECKING

import asyncpg
import sqlalchemy.exc
from starlette.requests import Request
from starlette.responses import JSONResponse

from server.app import upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.app.asgi import ASGIApp, Message, Receive, Scope, Send

RETRY_AFTER = 1  # seconds
LOG_EVERY = 10  # seconds between two lines about an outage
MAX_BODY = 1_000_000  # bytes of a request that are looked at for a key

# Each commits once, as its last step (Prefect 3.9.1).
ONCE = re.compile(
    r"/api/(flow_runs/?|deployments/[^/]+/(create_flow_run|create_flow_run/bulk|schedules)"
    r"|automations/?|v2/concurrency_limits/decrement)"
)
IDEMPOTENCY_KEY = b'"idempotency_key"'

# PostgreSQL's classes of SQLSTATE: connection exception; insufficient resources (a full disk, no
# memory, too many connections); system error (a disk that cannot be read or written).
AWAY_CLASSES = ("08", "53", "58")
# ... shut down by its administrator, by a crash, and starting up. 57014, a statement cancelled for
# its length, is none: it would be as long the next time, and a client would wait for ever.
AWAY_STATES = ("57P01", "57P02", "57P03")

logger = logging.getLogger("prefect.server.outage")


def is_outage(error: BaseException) -> bool:
    """Whether `error` says that the database is away, or has no room for this request."""
    return any(_says_away(each) for each in _chain(error))


def was_cut_in_commit(error: BaseException) -> bool:
    """Whether `error` was raised while a transaction was committed, which may have been done."""
    return any(
        module.startswith("sqlalchemy.") and function == "do_commit"
        for each in _chain(error)
        for module, function in _frames(each)
    )


def _says_away(error: BaseException) -> bool:
    if isinstance(error, sqlalchemy.exc.TimeoutError):  # no connection of the pool became free
        return True
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated:
        return True
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state.startswith(AWAY_CLASSES) or state in AWAY_STATES
    if isinstance(error, OSError):  # TimeoutError is one
        modules = {module for module, _ in _frames(error)}
        return "asyncpg.connect_utils" in modules
    return False


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and what led to it."""
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop()
        if each is None or any(each is other for other in seen):
            continue
        seen.append(each)
        todo += [each.__cause__, each.__context__, getattr(each, "orig", None)]
        if isinstance(each, BaseExceptionGroup):
            todo += each.exceptions
        yield each


def _frames(error: BaseException) -> Iterator[tuple[str, str]]:
    """Module and function of each frame that `error` passed."""
    at = error.__traceback__
    while at is not None:
        yield at.tb_frame.f_globals.get("__name__", ""), at.tb_frame.f_code.co_name
        at = at.tb_next


class Outages:
    """Answers for routes that raised: an outage here, all else as Prefect does."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before `app`, an app that lets exceptions out."""
        self.app = app
        self._next_line = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer when an exception comes back and no answer has begun."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False
        body = bytearray()

        async def watch_send(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        async def watch_receive() -> Message:
            message = await receive()
            if len(body) < MAX_BODY:
                body.extend(message.get("body", b""))
            return message

        once = scope["method"] == "POST" and ONCE.fullmatch(scope["path"])
        try:
            await self.app(scope, watch_receive if once else receive, watch_send)
        except Exception as error:
            if begun:
                raise
            if not is_outage(error):
                response = await upstream.answer_error(Request(scope), error)
            elif once and was_cut_in_commit(error) and not _has_key(bytes(body)):
                logger.exception("The database went away while this was committed")
                response = JSONResponse(
                    {
                        "exception_message": "The database went away while this was committed: "
                        "whether it was done is not known. Look before you repeat it."
                    },
                    status_code=500,
                )
            else:
                self._say(error)
                response = JSONResponse(
                    {"exception_message": "The database is away. Try again."},
                    status_code=503,
                    headers={"Retry-After": str(RETRY_AFTER), "Prefect-Maintenance": "true"},
                )
            await response(scope, receive, send)

    def _say(self, error: Exception) -> None:
        """Log the outage, once for a while: hundreds of requests may meet it."""
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LOG_EVERY
            logger.warning("The database is away, requests are told to wait: %r", error)


def _has_key(body: bytes) -> bool:
    """Whether the server knows a repeated request for what it is by its key."""
    if IDEMPOTENCY_KEY not in body:
        return False
    try:
        found = json.loads(body)
    except ValueError:
        return False
    each = found if isinstance(found, list) else [found]
    return all(isinstance(one, dict) and one.get("idempotency_key") for one in each)
