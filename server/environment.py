"""What each process of a stack runs, and with which environment: written once, for both backends.

The supervisor of an embedded stack starts these directly; in a container `server.entrypoint` does.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from sqlalchemy import URL

from server import secrets
from server.place import DATABASE_NAME, DATABASE_USER, WORK_POOL, Place, worker_name

if TYPE_CHECKING:
    from server.settings import Settings

# `init` is none of them: it starts before there are secrets to read.
Role = Literal["migrate", "server", "bootstrap", "worker"]

# How often the worker asks for work. Prefork hears of a new run from the server and asks then; for
# the other type, a person who pressed "Run" waits for it.
WORKER_QUERY_SECONDS = {"prefork": 5, "process": 1}
# Runs that wait for their time are taken this long before it.
WORKER_PREFETCH_SECONDS = 10
# How often a run says that it lives, the shortest that Prefect takes. stack.yaml counts with it.
HEARTBEAT_SECONDS = 30
# How long the server may be down and still see, when it is back, which heartbeats did not come.
EXPIRED_BUCKET_BUFFER = "P30D"  # 30 days, as Prefect wants it written
# How long a request waits for the database to take a connection, and for one of the server's own to
# be free, before it is told to come back later (see `server.app.outage`).
DATABASE_WAIT_SECONDS = 5

COMMON = {
    # Prefect lists all time zones of the machine for each schedule that it reads, which takes 7 ms
    # from the system's files and 0.2 ms from those of the package tzdata.
    "PYTHONTZPATH": "",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}


def command(role: Role, settings: Settings, place: Place) -> list[str]:
    """The program of `role` and its arguments.

    With -P: the working folder is the user's project, which may have a `server.py` of its own.
    """
    match role:
        case "migrate" | "bootstrap":
            return [sys.executable, "-P", "-m", f"server.{role}"]
        case "server":
            port = str(place.listen_port)
            program = [sys.executable, "-m", "server.app"]
            return [*program, "--host", place.listen_host, "--port", port]
        case "worker":
            return [
                *(sys.executable, "-P", "-m", "prefect"),
                *("worker", "start", "--pool", WORK_POOL, "--type", settings.worker_type),
                *("--name", worker_name(settings.stack_name), "--with-healthcheck"),
                *("--no-create-pool-if-not-found", "--install-policy", "never"),
            ]


def environment(role: Role, settings: Settings, place: Place) -> dict[str, str]:
    """The environment of `role`, secrets included, to be laid over PATH and the like."""
    match role:
        case "migrate":
            return {**COMMON, **_home(place), **_database(place)}
        case "server":
            return {
                **COMMON,
                **_home(place),
                **_database(place),
                **_server(settings, place),
            }
        case "bootstrap":
            return {**COMMON, **_home(place), **client(settings, place)}
        case "worker":
            return {**COMMON, **_home(place), **client(settings, place), **_worker(settings, place)}


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
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": _flag(not settings.auth),
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


def _home(place: Place) -> dict[str, str]:
    return {"PREFECT_HOME": str(place.scratch)}


def _database(place: Place) -> dict[str, str]:
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url(place),
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
    }


def _server(settings: Settings, place: Place) -> dict[str, str]:
    origins = [
        settings.url,
        f"http://localhost:{settings.stack_port}",
        f"http://127.0.0.1:{settings.stack_port}",
    ]
    values = {
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": str(DATABASE_WAIT_SECONDS),
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_TIMEOUT": str(DATABASE_WAIT_SECONDS),
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "server.app.leases",
        "PREFECT_SERVER_ENCRYPTION_KEY": secrets.encryption_key(place.secrets),
        # UI and API share an origin, so any name and any proxy works.
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_UI_STATIC_DIRECTORY": str(place.scratch / "ui"),
        # What the messages of automations link to.
        "PREFECT_UI_URL": ui_url(settings),
        # Else a run that a power cut has ended stays Running for ever: what waits for its heartbeat
        # is thrown away a minute after it was due, before it is looked at.
        "PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER": EXPIRED_BUCKET_BUFFER,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(dict.fromkeys(origins)),
        # With a login, requests carry a header that no other site can send.
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": _flag(not settings.auth),
    }
    if settings.auth:
        values["PREFECT_SERVER_API_AUTH_STRING"] = login(settings, place)
    else:  # the names that its own clients call it, besides localhost: see `server.app.access`
        values["STACK_TRUSTED_HOSTS"] = ",".join(
            sorted({str(urlsplit(url).hostname) for url in (settings.url, place.api_url)})
        )
    return values


def _worker(settings: Settings, place: Place) -> dict[str, str]:
    return {
        "STACK_DATA_DIR": str(place.data),
        "PREFORK_JOURNAL_FOLDER": str(place.journal),
        "PREFECT_LOCAL_STORAGE_PATH": str(place.data / "results"),
        "PREFECT_WORKER_QUERY_SECONDS": str(WORKER_QUERY_SECONDS[settings.worker_type]),
        "PREFECT_WORKER_PREFETCH_SECONDS": str(WORKER_PREFETCH_SECONDS),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
        "PREFECT_WORKER_WEBSERVER_PORT": str(place.worker_health_port),
    }


def _flag(value: bool) -> str:  # noqa: FBT001
    return "true" if value else "false"
