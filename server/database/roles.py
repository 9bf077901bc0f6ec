"""Takes the rights of a superuser from the stack's login, which owns its database.

PostgreSQL's images, and `initdb`, make the one role that they are told of a superuser, which may
run programs and read files on the server (`COPY ... FROM PROGRAM`). That role is the *bootstrap*
superuser, from which PostgreSQL takes the attribute from nobody. So it gets another name and loses
its password, and a new role gets its old name and its things. In Docker, `psql -U postgres` in the
container is still let in; without Docker, whoever runs the supervisor is, over the socket.
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

SUPERUSER = "postgres"
ASIDE = "prefect_bootstrap"  # where somebody has made a role `postgres` of his own
SETUP = "stack_setup"  # a session cannot rename its own role, so another one does
BOOTSTRAP_OID = 10
LOCK_TIMEOUT = "30s"  # a server that still runs holds its locks for the length of a query

# What the old role owns in this database, beyond what came with PostgreSQL or with an extension.
# Sequences of a column and the types of tables go with their table.
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
    """Leave the stack's login without the rights of a superuser; False when it had none.

    The change is one transaction: a kill leaves the role as it was, and the next call begins anew.

    Args:
        place: the stack.
        connection: one of the stack's login to its database, in autocommit mode.

    Raises:
        psycopg2.Error: PostgreSQL refuses, or a lock is not free within `LOCK_TIMEOUT`.
    """
    with connection.cursor() as cursor:
        # By name: of another migration that waited, the session is of the role that was renamed.
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
        # Of a session the rights stay what they were when it began.
        cursor.execute(sql.SQL("drop role {}").format(_name(SETUP)))
    return True


def _statements(place: Place, setup: Connection) -> Iterator[sql.Composable]:
    with setup.cursor() as cursor:
        cursor.execute("select from pg_roles where rolname = %s", (SUPERUSER,))
        superuser = _name(ASIDE if cursor.rowcount else SUPERUSER)
        cursor.execute(OWNED)
        owned = cursor.fetchall()
    user = _name(DATABASE_USER)
    password = _verifier(DATABASE_USER, secrets.database_password(place.secrets), setup)
    yield sql.SQL("set local lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT))
    yield sql.SQL("alter role {} rename to {}").format(user, superuser)
    yield sql.SQL("alter role {} password null").format(superuser)
    yield sql.SQL("create role {} login password {}").format(user, password)
    yield sql.SQL("alter database {} owner to {}").format(_name(DATABASE_NAME), user)
    for kind, name in owned:  # names that PostgreSQL has quoted where they need it
        yield sql.SQL("alter {} {} owner to {}").format(sql.SQL(kind), sql.SQL(name), user)
    yield sql.SQL("alter role {} nologin").format(_name(SETUP))


def _verifier(user: str, password: str, connection: Connection) -> sql.Composable:
    """What PostgreSQL keeps of a password: the password itself might get into its log."""
    return sql.Literal(
        extensions.encrypt_password(password, user, scope=connection, algorithm="scram-sha-256")
    )


def _name(role: str) -> sql.Identifier:
    return sql.Identifier(role)
