"""Builds the app that the server process runs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from server.app import leases, upstream
from server.app.access import Access
from server.app.callers import Callers
from server.app.gates import Gates
from server.app.integers import Integers
from server.app.outage import Outages
from server.app.reclaimer import reclaiming

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from server.app.asgi import ASGIApp


def build(hosts: frozenset[str] | None) -> ASGIApp:
    """Prefect's app, wrapped in our layers and with our background task.

    Args:
        hosts: the host names besides localhost under which the server may be called; None for any.
    """
    prefect = upstream.create()
    _add_lifespan(prefect)
    app: ASGIApp = Gates(Integers(Callers(Outages(prefect))))
    return app if hosts is None else Access(app, hosts)


def _add_lifespan(app: FastAPI) -> None:
    """Start the lease storage and the reclaimer with the app, and stop them with it."""
    prefect_lifespan = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with leases.ready(), prefect_lifespan(app), reclaiming():
            yield

    app.router.lifespan_context = lifespan
