"""The server's ASGI app in the test's own process, called without a network."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import prefect.settings as prefect_settings
from prefect.server.database.dependencies import temporary_database_config
from prefect.settings import temporary_settings

from server.app.build import build

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server.app.asgi import ASGIApp

LOGIN = "ada:correct horse"


@contextmanager
def settings(database_url: str, home: Path, login: str | None = LOGIN) -> Iterator[None]:
    """Apply the Prefect settings that the server of a stack with this `login` runs with."""
    values = {
        "PREFECT_HOME": home,
        "PREFECT_API_DATABASE_CONNECTION_URL": database_url,
        "PREFECT_SERVER_UI_ENABLED": False,
        "PREFECT_SERVER_ANALYTICS_ENABLED": False,
        "PREFECT_SERVER_API_AUTH_STRING": login,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": login is None,
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_TIMEOUT": 1,
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "server.app.leases",
    }
    settings = {getattr(prefect_settings, k): v for k, v in values.items()}
    # Otherwise Prefect keeps the first database configuration for the life of the process.
    with temporary_settings(settings), temporary_database_config(None):
        yield


@contextmanager
def app(database_url: str, home: Path, login: str | None = LOGIN) -> Iterator[ASGIApp]:
    """Yield the app with these settings applied; its lifespan does not run."""
    with settings(database_url, home, login):
        yield build(frozenset({"server"}) if login is None else None)


def ask(app: ASGIApp, method: str, path: str, **given: Any) -> httpx.Response:
    """Send one request to `app`; an exception that the app does not handle is raised here."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **given)

    return anyio.run(send)
