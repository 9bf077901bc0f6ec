"""The service `migrate`: upgrades the database to the installed Prefect's revision, under a lock.

Prefect's own migration locks only against other threads of its process: two servers that start at
the same time on an empty database break each other's migration.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import prefect
import tenacity
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from prefect.server.database import provide_database_interface
from prefect.server.database.alembic_commands import alembic_config

from server import place
from server.database import connection as database
from server.database import roles
from server.errors import MistakeError, exit_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class
    from psycopg2.extensions import cursor as Cursor  # noqa: N812 - it is a class

WAIT_SECONDS = 60
LOCK_RETRY_SECONDS = 0.5
# Any number that nobody else uses on this PostgreSQL: the bytes of "prefect" as an integer.
LOCK_KEY = int.from_bytes(b"prefect", "big")


def main() -> None:
    """Wait for the database, upgrade it if it is behind, and print what was done."""
    here = place.current()
    database.wait(here, WAIT_SECONDS)
    with database.connect(here, "migrate") as connection, lock(connection):
        if roles.demote(here, connection):
            sys.stdout.write("the stack's login to the database is no longer a superuser\n")
        before = current_revision(connection)
        revisions = pending(before)
        if not revisions:
            sys.stdout.write(
                f"database is at {before}, the head of Prefect {prefect.__version__}\n"
            )
            return
        sys.stdout.write(
            f"migrating from {before or 'an empty database'}: {len(revisions)} revisions\n"
        )
        sys.stdout.flush()
        anyio.run(provide_database_interface().run_migrations_upgrade)
        sys.stdout.write(f"database is at {current_revision(connection)}\n")


@contextmanager
def lock(connection: Connection) -> Iterator[None]:
    """Hold the lock on migrations, after waiting for any other process that holds it.

    The lock belongs to the session and not to a transaction, because some migrations create indexes
    concurrently, which PostgreSQL refuses inside a transaction. If this process is killed, the lock
    is released with its connection.
    """
    with connection.cursor() as cursor:
        _take(cursor)
        try:
            yield
        finally:
            cursor.execute("select pg_advisory_unlock(%s)", (LOCK_KEY,))


@tenacity.retry(
    retry=tenacity.retry_if_result(lambda taken: not taken),
    wait=tenacity.wait_fixed(LOCK_RETRY_SECONDS),
)
def _take(cursor: Cursor) -> bool:
    # Polled instead of waited for in PostgreSQL, to avoid a deadlock: a waiting statement holds a
    # snapshot, and the concurrent creation of an index waits for every snapshot to end.
    cursor.execute("select pg_try_advisory_lock(%s)", (LOCK_KEY,))
    return cursor.fetchone() == (True,)


def current_revision(connection: Connection) -> str | None:
    """The revision that the database is at; None for an empty database."""
    with connection.cursor() as cursor:
        cursor.execute("select to_regclass('alembic_version')")
        if cursor.fetchone() == (None,):
            return None
        cursor.execute("select version_num from alembic_version")
        row = cursor.fetchone()
        return str(row[0]) if row else None


def pending(current: str | None) -> list[str]:
    """The revisions of the installed Prefect that come after `current`, oldest first.

    Raises:
        MistakeError: the installed Prefect does not know the revision `current`.
    """
    config = alembic_config()
    # Prefect sets the locations only when Alembic runs its env.py, which is too late here.
    versions = provide_database_interface().orm.versions_dir
    config.set_main_option("version_locations", str(versions))
    scripts = ScriptDirectory.from_config(config)
    try:
        steps = list(scripts.iterate_revisions("heads", current or "base"))
    except RevisionError:
        raise MistakeError(
            "the database is newer than the code",
            expected=f"a revision that Prefect {prefect.__version__} knows, "
            f"at most {', '.join(scripts.get_heads())}",
            found=f"revision {current}",
            do="run the newer version of the stack that this database was used with, or restore "
            "a backup that was made before its upgrade",
        ) from None
    return [step.revision for step in reversed(steps)]


if __name__ == "__main__":
    exit_with(main)
