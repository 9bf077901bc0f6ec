"""Migrations and health checks against a real PostgreSQL, without a server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg2
import pytest

from scripts.embedded import cluster as clusters
from scripts.embedded import layout as layouts
from scripts.embedded.service import Start, spawn
from server import database, environment, health, roles, secrets
from server.errors import MistakeError, StackError
from server.place import DATABASE_NAME, VARIABLE, Place
from server.settings import ROOT, Settings
from tests.stack import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A running PostgreSQL with an empty database."""
    layout = layouts.Layout("database", tmp_path_factory.mktemp("database") / "stack")
    settings = Settings()
    layout.make()
    secrets.ensure(settings, layout.secrets)
    cluster = clusters.of(layout)
    found = layouts.place(layout, settings, cluster.socket)
    clusters.make(layout, cluster, secrets.database_password(layout.secrets))
    start = Start(cluster.command(), dict(os.environ), lambda _pid: None, cluster.account)
    process = spawn(start, cluster.home, layout.logs / "postgres.log")
    try:
        wait_for("database", lambda: clusters.check(found) is None, 30)
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        shutil.rmtree(cluster.home)
        shutil.rmtree(cluster.socket, ignore_errors=True)


def start_migration(place: Place) -> subprocess.Popen[str]:
    """The one-shot `migrate`, as the supervisor starts it."""
    settings = Settings()
    own = environment.environment("migrate", settings, place)
    env = {**os.environ, **own, VARIABLE: place.dump(), "PYTHONPATH": str(ROOT)}
    argv = environment.command("migrate", settings, place)
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, env=env, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def execute(place: Place, statement: str, *values: object) -> None:
    """Run one statement."""
    with database.connect(place, "test") as connection, connection.cursor() as cursor:
        cursor.execute(statement, values)


def test_three_migrations_at_once_on_an_empty_database_all_succeed(place: Place) -> None:
    started = [start_migration(place) for _ in range(3)]
    said = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    assert sum("migrating from an empty database" in each for each in said) == 1, said
    assert sum("is no superuser any more" in each for each in said) == 1, said
    again = start_migration(place).communicate(timeout=60)[0]
    assert again.startswith("database is at "), again


def superuser(place: Place, statement: str) -> list[tuple[object, ...]]:
    """What PostgreSQL answers its superuser, as whom only the supervisor's user is let in."""
    connection = psycopg2.connect(
        host=place.database_host, user=roles.SUPERUSER, dbname=DATABASE_NAME
    )
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def test_the_login_of_the_stack_is_a_plain_owner(place: Place) -> None:
    assert superuser(
        place,
        "select rolname, rolsuper or rolcreaterole or rolcreatedb or rolreplication "
        "or rolbypassrls, rolpassword is null from pg_authid "
        "where rolname !~ '^pg_' order by rolname",
    ) == [("postgres", True, True), ("prefect", False, False)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        execute(place, "create temp table t (x text); copy t from program 'id'")


def test_a_stack_that_was_made_with_a_superuser_keeps_its_data_and_loses_the_right(
    place: Place,
) -> None:
    # As an older release left it: one role, the bootstrap superuser, that owns everything.
    execute(place, "create type mood as enum ('a'); create view moods as select 'a'::mood as x")
    execute(place, "create function one() returns int language sql as 'select 1'")
    execute(place, "insert into flow (id, name) values (gen_random_uuid(), 'kept')")
    password = secrets.database_password(place.secrets)
    old = """
        alter database prefect owner to postgres;
        do $$ declare one record; begin
          for one in select c.oid::regclass as name from pg_class c
            where relnamespace = 'public'::regnamespace and relkind in ('r', 'v')
          loop execute format('alter table %s owner to postgres', one.name); end loop;
          for one in select t.oid::regtype as name from pg_type t
            where typnamespace = 'public'::regnamespace and typtype = 'e'
          loop execute format('alter type %s owner to postgres', one.name); end loop;
        end $$;
        alter function one() owner to postgres; alter schema public owner to postgres;
        alter role prefect rename to former; create role helper superuser login"""
    superuser(place, old)
    superuser(place, f"alter role helper password '{password}'")
    with (
        psycopg2.connect(
            host=place.database_host, user="helper", password=password, dbname=DATABASE_NAME
        ) as helper,
        helper.cursor() as cursor,
    ):
        cursor.execute("alter role postgres rename to prefect")
        cursor.execute("alter role prefect password %s", (password,))
    helper.close()
    execute(place, "drop owned by helper; drop role helper")
    said = start_migration(place).communicate(timeout=60)[0]
    assert "is no superuser any more" in said, said
    assert "is no superuser" not in start_migration(place).communicate(timeout=60)[0]
    execute(place, "update flow set name = 'kept' where name = 'kept'")
    execute(place, "alter table flow add column test int; alter table flow drop column test")
    execute(place, "drop view moods; drop type mood; drop function one(); create schema test")
    assert superuser(place, "select count(*) from flow where name = 'kept'") == [(1,)]
    assert superuser(place, "select rolname from pg_roles where rolsuper") == [("postgres",)]
    execute(place, "drop schema test; delete from flow where name = 'kept'")


def test_nothing_of_the_lock_is_left(place: Place) -> None:
    with database.connect(place, "test") as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_locks where locktype = 'advisory'")
        assert cursor.fetchone() == (0,)


def test_an_empty_stack_is_healthy(place: Place) -> None:
    assert health.check_services(place) is None


def test_a_run_that_is_overdue_and_not_marked_late_shows_that_services_stand_still(
    place: Place,
) -> None:
    flow, run = str(uuid.uuid4()), str(uuid.uuid4())
    execute(place, "insert into flow (id, name) values (%s, 'overdue')", flow)
    execute(
        place,
        "insert into flow_run (id, flow_id, name, state_type, state_name, "
        "next_scheduled_start_time) values (%s, %s, 'x', 'SCHEDULED', 'Scheduled', "
        "now() - interval '2 minutes')",
        *(run, flow),
    )
    assert health.check_services(place) is None
    execute(
        place,
        "update flow_run set next_scheduled_start_time = now() - interval '4 minutes' "
        "where id = %s",
        run,
    )
    assert "1 runs are overdue and not marked late" in str(health.check_services(place))
    execute(place, "update flow_run set state_name = 'Late' where id = %s", run)
    assert health.check_services(place) is None
    execute(place, "delete from flow where id = %s", flow)


@pytest.mark.parametrize(
    ("schedule", "ill"),
    [
        ({"cron": "*/15 * * * *"}, True),
        ({"cron": "0 2 * * 1-5"}, True),
        ({"interval": 3600}, True),
        ({"cron": "0 0 1 1 *"}, False),
        ({"interval": 8640000}, False),
        ({"rrule": "FREQ=DAILY;COUNT=1"}, False),
    ],
)
def test_schedules_without_any_run_ahead_show_that_the_scheduler_stands_still(
    place: Place,
    schedule: dict[str, object],
    ill: bool,  # noqa: FBT001
) -> None:
    flow, deployment = str(uuid.uuid4()), str(uuid.uuid4())
    execute(place, "insert into flow (id, name) values (%s, 'scheduled')", flow)
    execute(
        place,
        "insert into deployment (id, name, flow_id, updated) values "
        "(%s, 'x', %s, now() - interval '10 minutes')",
        *(deployment, flow),
    )
    execute(
        place,
        "insert into deployment_schedule (id, deployment_id, schedule, active, updated) values "
        "(%s, %s, %s, true, now() - interval '10 minutes')",
        *(str(uuid.uuid4()), deployment, json.dumps(schedule)),
    )
    found = health.check_services(place)
    assert (found is not None and "the scheduler stands still" in found) == ill, found
    execute(
        place,
        "insert into flow_run (id, flow_id, deployment_id, name, auto_scheduled, "
        "next_scheduled_start_time) values (%s, %s, %s, 'x', true, now() + interval '1 hour')",
        *(str(uuid.uuid4()), flow, deployment),
    )
    assert health.check_services(place) is None
    execute(place, "delete from flow where id = %s", flow)


def test_a_password_that_the_database_does_not_take_is_a_mistake_that_says_so(
    place: Place, tmp_path: Path
) -> None:
    secrets.ensure(Settings(), tmp_path)
    other = replace(place, secrets=tmp_path)
    with pytest.raises(MistakeError, match="does not take the stack's password"):
        database.wait(other, 5)


def test_a_database_that_does_not_answer_is_waited_for_and_named(place: Place) -> None:
    with pytest.raises(StackError, match="PostgreSQL did not answer within 1 s"):
        database.wait(replace(place, database_host="/nonexistent"), 1)


def test_the_health_check_of_a_container_imports_little() -> None:
    script = (
        "import sys, server.health, worker.health; "
        "print({'pydantic', 'sqlalchemy', 'prefect'} & set(sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
    assert said.strip() == "set()"
