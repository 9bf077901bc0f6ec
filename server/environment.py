"""The parts of the environment that several services of a stack share.

What is one service's own is in its module of `server/services/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import URL

from server import secrets
from server.place import DATABASE_NAME, DATABASE_USER, Place

if TYPE_CHECKING:
    from server.settings import Settings

COMMON = {
    # Prefect lists all time zones of the machine for each schedule that it reads, which takes 7 ms
    # from the system's files and 0.2 ms from those of the package tzdata.
    "PYTHONTZPATH": "",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}


def client(settings: Settings, place: Place) -> dict[str, str]:
    """What a client of the API needs: of the stack's own, or of the remote one that it uses.

    Of a remote server neither the version nor whether it asks for CSRF tokens is known: clients
    find out, and derive the address of its UI.
    """
    if settings.remote:
        return settings.remote.environment()
    values = {
        "PREFECT_API_URL": place.api_url,
        # What run logs and alerts link to: the address for a person, not for a container.
        "PREFECT_UI_URL": ui_url(settings),
        # One call less for each client; the lock holds server and worker to one version.
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": flag(not settings.auth),
    }
    if settings.auth:
        values["PREFECT_API_AUTH_STRING"] = login(settings, place)
    return values


def ui_url(settings: Settings) -> str:
    """Where links to runs begin; without /v2, they would open the old UI."""
    return f"{settings.url}/v2"


def login(settings: Settings, place: Place) -> str:
    """The login of the stack's own API, `user:password`; empty when it asks for none."""
    if not settings.auth:
        return ""
    return f"{settings.stack_user}:{secrets.api_password(settings, place.secrets)}"


def database_url(place: Place) -> str:
    """The database's address for Prefect; SQLAlchemy quotes what needs it."""
    socket = place.database_host.startswith("/")
    return URL.create(
        "postgresql+asyncpg",
        username=DATABASE_USER,
        password=secrets.database_password(place.secrets),
        host=None if socket else place.database_host,
        database=DATABASE_NAME,
        query={"host": place.database_host} if socket else {},
    ).render_as_string(hide_password=False)


def home(place: Place) -> dict[str, str]:
    """Where Prefect keeps its profiles and caches."""
    return {"PREFECT_HOME": str(place.scratch)}


def database(place: Place) -> dict[str, str]:
    """What Prefect needs to open the database, which `migrate` alone changes."""
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url(place),
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
    }


def flag(value: bool) -> str:  # noqa: FBT001
    """A yes or no, as Prefect reads it."""
    return "true" if value else "false"
