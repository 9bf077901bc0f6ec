"""The app that the server process runs."""

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
    """Prefect's app with our layers around it and our task beside it.

    Args:
        hosts: the names that it answers to besides localhost; None for whatever it is called.
    """
    prefect = upstream.create()
    _add_lifespan(prefect)
    app: ASGIApp = Gates(Integers(Callers(Outages(prefect))))
    return app if hosts is None else Access(app, hosts)


def _add_lifespan(app: FastAPI) -> None:
    """Have leases and reclaimer ready before the first request, and end them after the last."""
    prefects = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(own: FastAPI) -> AsyncIterator[None]:
        async with leases.ready(), prefects(own), reclaiming():
            yield

    app.router.lifespan_context = lifespan
