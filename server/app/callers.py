"""Which run takes a lease.

A flow that says `with concurrency("database"):` does not name itself as the holder, and Prefect
could not tell from the lease that its run has ended. Its client does say in a header of each
request which deployment the run is of; X-Prefect-Flow-Run-Id, where it is sent, says which run.
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
    """Who sent the request that is being answered; None where it is not known."""

    flow_run_id: UUID | None = None
    deployment_id: UUID | None = None


NOBODY = Caller()
CALLER: ContextVar[Caller] = ContextVar("caller", default=NOBODY)


def current() -> Caller:
    """The caller of the request that this task answers."""
    return CALLER.get()


class Callers:
    """Notes the caller of each request."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before `app`."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, in a context that holds its caller."""
        if scope["type"] == "http":
            run, deployment = b"x-prefect-flow-run-id", b"x-prefect-deployment-id"
            CALLER.set(Caller(_uuid(header(scope, run)), _uuid(header(scope, deployment))))
        await self.app(scope, receive, send)


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
