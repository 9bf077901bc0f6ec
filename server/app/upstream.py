"""The internals of Prefect's server that we use, in one place: they may change without notice.

tests/unit/test_server_app.py and tests/embedded/test_server_app.py use each of them in a real
server, so that an upgrade of Prefect that changes one fails these tests.
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
    "release_slots",
    "transaction",
    "uvicorn_options",
]


def create() -> FastAPI:
    """Prefect's app as `prefect server start` creates it, except that it raises exceptions.

    Prefect answers a request whose route raised, and raises the exception as well, so that it is
    logged twice. This app only raises it.
    """
    app = create_app(final=True, ignore_cache=True)
    for part in (app, app.api_app):  # type: ignore[attr-defined]
        part.exception_handlers[Exception] = _raise_again
    return app


async def _raise_again(_request: Request, error: Exception) -> Response:
    raise error


async def answer_error(request: Request, error: Exception) -> Response:
    """Prefect's own answer to `error`: 503 if the client may retry, otherwise 500."""
    return await custom_internal_exception_handler(request, error)


def uvicorn_options() -> dict[str, Any]:
    """The options that `prefect server start` passes to uvicorn, without host and port.

    See cli/_server_utils.py.
    """
    settings = get_current_settings().server
    return {
        "timeout_keep_alive": settings.api.keepalive_timeout,
        "ws_ping_interval": settings.api.websocket_ping_interval,
        "ws_ping_timeout": settings.api.websocket_ping_timeout,
        "log_level": settings.logging_level.lower(),
    }


def database_url() -> str:
    """The address of the database, with the password."""
    url = get_current_settings().server.database.connection_url
    if url is None:
        raise TypeError("expected PREFECT_SERVER_DATABASE_CONNECTION_URL in the environment")
    return url.get_secret_value()


@asynccontextmanager
async def transaction() -> AsyncIterator[AsyncSession]:
    """A transaction on a connection from the pool that Prefect's routes use."""
    async with provide_database_interface().session_context(begin_transaction=True) as session:
        yield session


async def release_slots(
    session: AsyncSession, limit_ids: list[UUID], slots: int, held_seconds: float
) -> None:
    """Release `slots` of each of these limits, as Prefect does when a run releases them."""
    await bulk_decrement_active_slots(  # type: ignore[attr-defined]
        session=session,
        concurrency_limit_ids=limit_ids,
        slots=slots,
        occupancy_seconds=held_seconds,
    )
