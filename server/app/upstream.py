"""The parts of Prefect's server that it does not promise to keep, named in one place.

tests/unit/test_server_app.py and tests/embedded/test_server_app.py use each of them on the real
thing, so that an upgrade which moves one fails there.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from prefect.server.api.server import create_app, custom_internal_exception_handler
from prefect.server.concurrency.lease_storage import ConcurrencyLeaseStorage as LeaseStorage
from prefect.server.concurrency.lease_storage import ConcurrencyLimitLeaseMetadata as LeaseMetadata
from prefect.server.database import provide_database_interface
from prefect.server.models.concurrency_limits_v2 import bulk_decrement_active_slots
from prefect.server.utilities.leasing import ResourceLease
from prefect.settings import get_current_settings
from prefect.types._concurrency import ConcurrencyLeaseHolder as LeaseHolder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from fastapi import FastAPI
    from sqlalchemy.ext.asyncio import AsyncSession
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = [
    "LeaseHolder",
    "LeaseMetadata",
    "LeaseStorage",
    "ResourceLease",
    "answer_error",
    "create",
    "database_url",
    "give_back",
    "transaction",
    "uvicorn_options",
]


def create() -> FastAPI:
    """Prefect's app as `prefect server start` makes it, but that exceptions come out of it.

    Prefect turns every exception of a route into an answer of its own, and passes it on all the
    same, to be logged a second time. Here it is passed on only.
    """
    app = create_app(final=True, ignore_cache=True)
    for each in (app, app.api_app):  # type: ignore[attr-defined]
        each.exception_handlers[Exception] = _pass_on
    return app


async def _pass_on(_request: Request, error: Exception) -> Response:
    raise error


async def answer_error(request: Request, error: Exception) -> Response:
    """What Prefect answers to `error`: 503 where a client may try again, else 500."""
    return await custom_internal_exception_handler(request, error)


def uvicorn_options() -> dict[str, Any]:
    """What `prefect server start` gives uvicorn besides host and port (cli/_server_utils.py)."""
    settings = get_current_settings().server
    return {
        "timeout_keep_alive": settings.api.keepalive_timeout,
        "ws_ping_interval": settings.api.websocket_ping_interval,
        "ws_ping_timeout": settings.api.websocket_ping_timeout,
        "log_level": settings.logging_level.lower(),
    }


def database_url() -> str:
    """The address of the database, with its password."""
    url = get_current_settings().server.database.connection_url
    if url is None:
        raise TypeError("expected PREFECT_SERVER_DATABASE_CONNECTION_URL in the environment")
    return url.get_secret_value()


@asynccontextmanager
async def transaction() -> AsyncIterator[AsyncSession]:
    """A transaction on one of the connections that Prefect's routes use."""
    async with provide_database_interface().session_context(begin_transaction=True) as session:
        yield session


async def give_back(
    session: AsyncSession, limit_ids: list[UUID], slots: int, held_seconds: float
) -> None:
    """Give back `slots` of each of these limits, as Prefect does when a run lets them go."""
    await bulk_decrement_active_slots(  # type: ignore[attr-defined]
        session=session,
        concurrency_limit_ids=limit_ids,
        slots=slots,
        occupancy_seconds=held_seconds,
    )
