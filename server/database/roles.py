"""Removes superuser rights from the stack's login, which keeps ownership of its database.

PostgreSQL's images and `initdb` create the configured role as a superuser, which may run programs
and read files on the server (`COPY ... FROM PROGRAM`). This role is the *bootstrap* superuser, from
which PostgreSQL never removes the attribute. So the role is renamed and loses its password, and a
new role takes over its name and its objects. A superuser can still log in: in Docker with
`psql -U postgres` inside the container, without Docker as the user of the supervisor, over the
socket.
"""

from __future__ import annotations

import secrets as random
from typing import TYPE_CHECKING

import psycopg2
from psycopg2 import extensions, sql

from server import secrets
from server.database.connection import CONNECT_TIMEOUT
from server.place import DATABASE_NAME, DATABASE_USER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

    from server.place import Place

SUPERUSER = "postgres"  # the new name of the bootstrap superuser
FALLBACK_SUPERUSER = "prefect_bootstrap"  # its new name if a role `postgres` exists already
SETUP = "stack_setup"  # a temporary role: a session cannot rename its own role
BOOTSTRAP_OID = 10
LOCK_TIMEOUT = "30s"  # a server that is still running holds locks for the length of a query

# What the old role owns in this database, except objects of PostgreSQL itself and of extensions.
# Sequences of columns and the row types of tables change owner together with their table.
OWNED = """
with own as (
  select 'table' as kind, 'pg_class'::regclass as catalog, c.oid, c.relnamespace as space,
         c.oid::regclass::text as name
  from pg_class c
  where c.relowner = 10 and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    and not (c.relkind = 'S' and exists (
      select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
        and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')))
  union all
  select 'type', 'pg_type'::regclass, t.oid, t.typnamespace, t.oid::regtype::text
  from pg_type t left join pg_class c on c.oid = t.typrelid
  where t.typowner = 10 and (t.typtype in ('e', 'd', 'r') or c.relkind = 'c')
  union all
  select 'routine', 'pg_proc'::regclass, p.oid, p.pronamespace, p.oid::regprocedure::text
  from pg_proc p where p.proowner = 10
)
select own.kind, own.name from own join pg_namespace n on n.oid = own.space
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  and not exists (select from pg_depend d where d.classid = own.catalog and d.objid = own.oid
                    and d.deptype = 'e')
union all
select 'schema', quote_ident(nspname) from pg_namespace
where nspowner = 10 and nspname !~ '^pg_' and nspname <> 'information_schema'
"""


def demote(place: Place, connection: Connection) -> bool:
    """Remove superuser rights from the stack's login.

    The change is a single transaction: if it is interrupted, the role stays as it was, and the next
    call starts again.

    Args:
        place: of the stack.
        connection: a connection of the stack's login to its database, in autocommit mode.

    Returns:
        False if the login was not a superuser.

    Raises:
        psycopg2.Error: PostgreSQL refuses, or a lock was not released within `LOCK_TIMEOUT`.
    """
    with connection.cursor() as cursor:
        # Looked up by name, not as the session's role: if this process waited for another
        # migration, that one has renamed the role of this session.
        cursor.execute("select oid, rolsuper from pg_roles where rolname = %s", (DATABASE_USER,))
        oid, superuser = cursor.fetchone() or (0, False)
        if not superuser:
            return False
        if oid != BOOTSTRAP_OID:
            cursor.execute(sql.SQL("alter role {} nosuperuser").format(_name(DATABASE_USER)))
            return True
        password = random.token_urlsafe()
        cursor.execute(sql.SQL("drop role if exists {}").format(_name(SETUP)))
        cursor.execute(
            sql.SQL("create role {} superuser login password {}").format(
                _name(SETUP), _verifier(SETUP, password, connection)
            )
        )
        setup = psycopg2.connect(
            host=place.database_host,
            user=SETUP,
            password=password,
            dbname=DATABASE_NAME,
            connect_timeout=CONNECT_TIMEOUT,
            application_name="stack roles",
        )
        try:
            with setup, setup.cursor() as change:
                for statement in _statements(place, setup):
                    change.execute(statement)
        finally:
            setup.close()
        # This session may still drop a role: it keeps the rights that it had when it began.
        cursor.execute(sql.SQL("drop role {}").format(_name(SETUP)))
    return True


def _statements(place: Place, setup: Connection) -> Iterator[sql.Composable]:
    with setup.cursor() as cursor:
        cursor.execute("select from pg_roles where rolname = %s", (SUPERUSER,))
        superuser = _name(FALLBACK_SUPERUSER if cursor.rowcount else SUPERUSER)
        cursor.execute(OWNED)
        owned = cursor.fetchall()
    user = _name(DATABASE_USER)
    password = _verifier(DATABASE_USER, secrets.database_password(place.secrets), setup)
    yield sql.SQL("set local lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT))
    yield sql.SQL("alter role {} rename to {}").format(user, superuser)
    yield sql.SQL("alter role {} password null").format(superuser)
    yield sql.SQL("create role {} login password {}").format(user, password)
    yield sql.SQL("alter database {} owner to {}").format(_name(DATABASE_NAME), user)
    for kind, name in owned:  # PostgreSQL has already quoted the names where necessary
        yield sql.SQL("alter {} {} owner to {}").format(sql.SQL(kind), sql.SQL(name), user)
    yield sql.SQL("alter role {} nologin").format(_name(SETUP))


def _verifier(user: str, password: str, connection: Connection) -> sql.Composable:
    """The SCRAM verifier of a password, so that the password itself cannot get into a log."""
    return sql.Literal(
        extensions.encrypt_password(password, user, scope=connection, algorithm="scram-sha-256")
    )


def _name(role: str) -> sql.Identifier:
    return sql.Identifier(role)
