"""Finds out which run takes a lease.

A flow that uses `with concurrency("database"):` does not send its run as the holder, so nobody
could tell from the lease that the run has ended. But Prefect's client sends the run's deployment in
a header of each request, and some clients send the run itself as X-Prefect-Flow-Run-Id.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from server.app.asgi import header

if TYPE_CHECKING:
    from server.app.asgi import ASGIApp, Receive, Scope, Send


@dataclass(frozen=True)
class Caller:
    """The run and the deployment that sent the current request; None where unknown."""

    flow_run_id: UUID | None = None
    deployment_id: UUID | None = None


NOBODY = Caller()
CALLER: ContextVar[Caller] = ContextVar("caller", default=NOBODY)


def current() -> Caller:
    """The caller of the request that the current asyncio task is answering."""
    return CALLER.get()


class Callers:
    """Makes the caller of each request available to `current`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on in a context that contains its caller."""
        if scope["type"] == "http":
            run, deployment = b"x-prefect-flow-run-id", b"x-prefect-deployment-id"
            CALLER.set(Caller(_uuid(header(scope, run)), _uuid(header(scope, deployment))))
        await self.app(scope, receive, send)


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
