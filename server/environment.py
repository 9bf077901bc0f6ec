"""Environment variables that several services share.

Variables of a single service are in its module in `server/services/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import URL

from server import secrets
from server.place import DATABASE_NAME, DATABASE_USER, Place

if TYPE_CHECKING:
    from server.settings import Settings

COMMON = {
    # Prefect lists all time zones for each schedule that it reads. This takes 7 ms with the
    # system's files and 0.2 ms with those of the package tzdata, which Python uses when the path is
    # empty.
    "PYTHONTZPATH": "",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}


def client(settings: Settings, place: Place) -> dict[str, str]:
    """The variables with which a client calls the API, of the stack's own or of a remote server.

    For a remote server, Prefect's client derives the address of the UI and finds out by itself
    which version the server has and whether it requires CSRF tokens.
    """
    if settings.remote:
        return settings.remote.environment()
    values = {
        "PREFECT_API_URL": place.api_url,
        # Logs and alerts link to this address, so it has to work in a browser.
        "PREFECT_UI_URL": ui_url(settings),
        # Saves each client one request: the lock file pins server and worker to one version.
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": flag(not settings.auth),
    }
    if settings.auth:
        values["PREFECT_API_AUTH_STRING"] = login(settings, place)
    return values


def ui_url(settings: Settings) -> str:
    """The address that links to runs begin with; without /v2, they would open the old UI."""
    return f"{settings.url}/v2"


def login(settings: Settings, place: Place) -> str:
    """The login of the stack's own API as `user:password`; empty when the API requires none."""
    if not settings.auth:
        return ""
    return f"{settings.stack_user}:{secrets.api_password(settings, place.secrets)}"


def database_url(place: Place) -> str:
    """The address of the database in the form that Prefect expects, with the password."""
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
    """The folder in which Prefect keeps its profiles and caches."""
    return {"PREFECT_HOME": str(place.scratch)}


def database(place: Place) -> dict[str, str]:
    """The variables with which Prefect opens the database; only `migrate` changes its schema."""
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url(place),
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
    }


def flag(value: bool) -> str:  # noqa: FBT001
    """A boolean in the form that Prefect's settings expect."""
    return "true" if value else "false"
