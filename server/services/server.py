"""`server` runs the API, the UI and the background services in one process: see `server.app`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from server import environment as common
from server import secrets
from server.service import Service, health_of

if TYPE_CHECKING:
    from server.place import Place
    from server.settings import Settings

# The longest downtime after which the server still detects the heartbeats that were missed.
EXPIRED_BUCKET_BUFFER = "P30D"  # 30 days, as an ISO 8601 duration
# How long a request waits to connect to the database, and how long it waits for a free connection
# in the server's pool, before the client is told to retry later (see `server.app.outage`).
DATABASE_WAIT_SECONDS = 5


def command(_settings: Settings, place: Place) -> list[str]:
    program = [sys.executable, "-m", "server.app"]
    return [*program, "--host", place.listen_host, "--port", str(place.listen_port)]


def environment(settings: Settings, place: Place) -> dict[str, str]:
    origins = [
        settings.url,
        f"http://localhost:{settings.stack_port}",
        f"http://127.0.0.1:{settings.stack_port}",
    ]
    values = {
        **common.COMMON,
        **common.home(place),
        **common.database(place),
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": str(DATABASE_WAIT_SECONDS),
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_TIMEOUT": str(DATABASE_WAIT_SECONDS),
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "server.app.leases",
        "PREFECT_SERVER_ENCRYPTION_KEY": secrets.encryption_key(place.secrets),
        # UI and API share an origin, so that the UI works under any host name and behind any proxy.
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_UI_STATIC_DIRECTORY": str(place.scratch / "ui"),
        # The address that links in messages of automations begin with.
        "PREFECT_UI_URL": common.ui_url(settings),
        # Without it, a run that was killed by a power cut stays Running for ever: Prefect discards
        # the record that waits for its heartbeat one minute after the heartbeat was due, before the
        # restarted server has looked at it.
        "PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER": EXPIRED_BUCKET_BUFFER,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(dict.fromkeys(origins)),
        # With a login, every request carries a header that other sites cannot send.
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": common.flag(not settings.auth),
    }
    if settings.auth:
        values["PREFECT_SERVER_API_AUTH_STRING"] = common.login(settings, place)
    else:  # besides localhost, the host names that its clients use: see `server.app.access`
        values["STACK_TRUSTED_HOSTS"] = ",".join(
            sorted({str(urlsplit(url).hostname) for url in (settings.url, place.api_url)})
        )
    return values


SERVICE = Service(
    name="server",
    image="server",
    command=command,
    environment=environment,
    secrets=frozenset({"database", "encryption", "api"}),
    networks=frozenset({"default", "database"}),
    waits_for={"migrate": "done"},
    health=health_of("server.database.health"),
    local_server_only=True,
)
