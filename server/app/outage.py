"""How requests are answered while the database is unavailable.

Prefect answers 500 when it cannot connect to PostgreSQL, and its clients give up on 500: runs that
had finished their work became Crashed, others stayed Pending for ever. Here an outage is answered
with 503 and the header `Prefect-Maintenance: true`, after which Prefect's clients retry for as long
as it takes (prefect/client/base.py, `_send_with_retry`).

A request that the client repeats may have succeeded already, but only if the connection broke
during the COMMIT, because nothing is stored before. Repeating is harmless for requests that read
or that set something (a state, with the id of its transition; a value), and for objects that are
identified by a name or a key. Requests that would create something twice are in `ONCE`: if the
connection breaks during their COMMIT, they are answered with 500, which clients do not repeat.
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
LOG_EVERY = 10  # seconds between two log lines about an outage
MAX_BODY = 1_000_000  # bytes of a request in which an idempotency key is looked for

# Requests that must not be repeated. Each commits once, as its last step (Prefect 3.9.1).
ONCE = re.compile(
    r"/api/(flow_runs/?|deployments/[^/]+/(create_flow_run|create_flow_run/bulk|schedules)"
    r"|automations/?|v2/concurrency_limits/decrement)"
)
IDEMPOTENCY_KEY = b'"idempotency_key"'

# Classes of SQLSTATE: connection exception; insufficient resources (disk full, out of memory, too
# many connections); system error (a disk that cannot be read or written).
AWAY_CLASSES = ("08", "53", "58")
# Single SQLSTATEs: admin shutdown, crash shutdown, cannot connect now (PostgreSQL is starting).
# 57014, a statement that was cancelled because it took too long, is not an outage: it would take as
# long the next time, and the client would retry for ever.
AWAY_STATES = ("57P01", "57P02", "57P03")

logger = logging.getLogger("prefect.server.outage")


def is_outage(error: BaseException) -> bool:
    """Whether `error` means that the database is unavailable, or has no capacity for a request."""
    return any(_means_away(link) for link in _chain(error))


def was_cut_in_commit(error: BaseException) -> bool:
    """Whether `error` was raised during a COMMIT, which may have succeeded nevertheless."""
    return any(
        module.startswith("sqlalchemy.") and function == "do_commit"
        for link in _chain(error)
        for module, function in _frames(link)
    )


def _means_away(error: BaseException) -> bool:
    if isinstance(error, sqlalchemy.exc.TimeoutError):  # no connection in the pool became free
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
    """Yield `error` and all exceptions that led to it."""
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        link = todo.pop()
        if link is None or any(link is other for other in seen):
            continue
        seen.append(link)
        todo += [link.__cause__, link.__context__, getattr(link, "orig", None)]
        if isinstance(link, BaseExceptionGroup):
            todo += link.exceptions
        yield link


def _frames(error: BaseException) -> Iterator[tuple[str, str]]:
    """Yield the module and function of each frame in the traceback of `error`."""
    entry = error.__traceback__
    while entry is not None:
        yield entry.tb_frame.f_globals.get("__name__", ""), entry.tb_frame.f_code.co_name
        entry = entry.tb_next


class Outages:
    """Answers requests whose routes raised; errors other than outages are left to Prefect."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`, which must raise the exceptions of its routes (see `upstream.create`)."""
        self.app = app
        self._next_log_time = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and answer it if the app raises before its response has begun."""
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
                        "whether it was done is not known. Check before you repeat it."
                    },
                    status_code=500,
                )
            else:
                self._log(error)
                response = JSONResponse(
                    {"exception_message": "The database is away. Try again."},
                    status_code=503,
                    headers={"Retry-After": str(RETRY_AFTER), "Prefect-Maintenance": "true"},
                )
            await response(scope, receive, send)

    def _log(self, error: Exception) -> None:
        """Log the outage at most every `LOG_EVERY` seconds: it may affect hundreds of requests."""
        if time.monotonic() >= self._next_log_time:
            self._next_log_time = time.monotonic() + LOG_EVERY
            logger.warning("The database is away, requests are told to wait: %r", error)


def _has_key(body: bytes) -> bool:
    """Whether every object in the request has a key by which the server recognises a repetition."""
    if IDEMPOTENCY_KEY not in body:
        return False
    try:
        content = json.loads(body)
    except ValueError:
        return False
    items = content if isinstance(content, list) else [content]
    return all(isinstance(item, dict) and item.get("idempotency_key") for item in items)
