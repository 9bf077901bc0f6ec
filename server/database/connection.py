"""Connections to the stack's PostgreSQL with psycopg2, for everything except Prefect itself."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg2

from server import secrets
from server.errors import MistakeError, StackError
from server.place import DATABASE_NAME, DATABASE_USER, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

CONNECT_TIMEOUT = 5  # seconds


@contextmanager
def connect(place: Place, purpose: str, database: str = DATABASE_NAME) -> Iterator[Connection]:
    """Open a connection in autocommit mode to the database of the stack at `place`.

    Args:
        place: of the stack.
        purpose: shown in `pg_stat_activity`, after the word "stack".
        database: the name of the database.

    Raises:
        MistakeError: PostgreSQL refuses the stack's password.
        psycopg2.OperationalError: PostgreSQL cannot be reached.
    """
    password = secrets.database_password(place.secrets)
    try:
        connection = psycopg2.connect(
            host=place.database_host,
            user=DATABASE_USER,
            password=password,
            dbname=database,
            connect_timeout=CONNECT_TIMEOUT,
            application_name=f"stack {purpose}",
        )
    except psycopg2.OperationalError as error:
        if "password authentication failed" in str(error):
            raise MistakeError(
                "PostgreSQL does not take the stack's password",
                expected="the password that the database was created with",
                found="another one: the secrets were replaced, or the data belong to another stack",
                do="put the first password into .env as POSTGRES_PASSWORD; or, to start anew and "
                "LOSE ALL DATA, scripts/stack down --volumes",
            ) from error
        raise
    try:
        connection.autocommit = True
        yield connection
    finally:
        connection.close()


def wait(place: Place, seconds: float) -> None:
    """Wait until the database answers.

    Raises:
        MistakeError: PostgreSQL refuses the stack's password.
        StackError: there was no answer within `seconds`.
    """

    import tenacity  # noqa: PLC0415 - health checks import this module every few seconds

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(psycopg2.OperationalError),
        wait=tenacity.wait_exponential(multiplier=0.1, max=2),
        stop=tenacity.stop_after_delay(seconds),
        reraise=True,
    )
    def attempt() -> None:
        with connect(place, "wait"):
            pass

    try:
        attempt()
    except psycopg2.OperationalError as error:
        raise StackError(
            f"PostgreSQL did not answer within {seconds:.0f} s",
            expected="a server that accepts connections",
            found=str(error).strip(),
            do="scripts/stack logs postgres",
        ) from error
