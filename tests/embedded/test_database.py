"""Migrations and health checks against a real PostgreSQL, without a server."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg2
import pytest

from server import secrets
from server.database import connection as database
from server.database import health, pools, roles
from server.errors import MistakeError, StackError
from server.place import DATABASE_NAME, VARIABLE, Place
from server.services import migrate
from server.settings import ROOT, Settings
from tests.embedded import databases
from tests.embedded.pool_rows import PoolRows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


FULL_DEPLOYMENT = """
with made as (
  insert into concurrency_limit_v2 (id, name, "limit", active, active_slots, denied_slots,
    slot_decay_per_second, avg_slot_occupancy_seconds)
  values (gen_random_uuid(), 'x', 1, true, 1, 0, 0, 2) returning id
)
update deployment set concurrency_limit_id = (select id from made)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A running PostgreSQL with an empty database."""
    with databases.running(tmp_path_factory.mktemp("database")) as postgresql:
        yield postgresql.place


@pytest.fixture
def long_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the health check believe that the stack has been up for a long time."""
    monkeypatch.setattr(pools, "JUST_STARTED", "select false")


def start_migration(place: Place) -> subprocess.Popen[str]:
    """Start the one-shot service `migrate` as the supervisor does."""
    settings = Settings()
    own = migrate.SERVICE.environment(settings, place)
    env = {**os.environ, **own, VARIABLE: place.dump(), "PYTHONPATH": str(ROOT)}
    argv = migrate.SERVICE.command(settings, place)
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, env=env, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def test_three_migrations_at_once_on_an_empty_database_all_succeed(place: Place) -> None:
    started = [start_migration(place) for _ in range(3)]
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], outputs
    assert sum("migrating from an empty database" in output for output in outputs) == 1, outputs
    assert sum("is no longer a superuser" in output for output in outputs) == 1, outputs
    again = start_migration(place).communicate(timeout=60)[0]
    assert again.startswith("database is at "), again


def superuser(place: Place, statement: str) -> list[tuple[object, ...]]:
    """Run one statement as the superuser, whom only the supervisor's user may log in as."""
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
        databases.execute(place, "create temp table t (x text); copy t from program 'id'")


def test_a_stack_that_was_made_with_a_superuser_keeps_its_data_and_loses_the_right(
    place: Place,
) -> None:
    # The state that an older release left: one role, the bootstrap superuser, owns everything.
    databases.execute(
        place, "create type mood as enum ('a'); create view moods as select 'a'::mood as x"
    )
    databases.execute(place, "create function one() returns int language sql as 'select 1'")
    databases.execute(place, "insert into flow (id, name) values (gen_random_uuid(), 'kept')")
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
    databases.execute(place, "drop owned by helper; drop role helper")
    said = start_migration(place).communicate(timeout=60)[0]
    assert "is no longer a superuser" in said, said
    assert "is no longer a superuser" not in start_migration(place).communicate(timeout=60)[0]
    databases.execute(place, "update flow set name = 'kept' where name = 'kept'")
    databases.execute(
        place, "alter table flow add column test int; alter table flow drop column test"
    )
    databases.execute(
        place, "drop view moods; drop type mood; drop function one(); create schema test"
    )
    assert superuser(place, "select count(*) from flow where name = 'kept'") == [(1,)]
    assert superuser(place, "select rolname from pg_roles where rolsuper") == [("postgres",)]
    databases.execute(place, "drop schema test; delete from flow where name = 'kept'")


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
    databases.execute(place, "insert into flow (id, name) values (%s, 'overdue')", flow)
    databases.execute(
        place,
        "insert into flow_run (id, flow_id, name, state_type, state_name, "
        "next_scheduled_start_time) values (%s, %s, 'x', 'SCHEDULED', 'Scheduled', "
        "now() - interval '2 minutes')",
        *(run, flow),
    )
    assert health.check_services(place) is None
    databases.execute(
        place,
        "update flow_run set next_scheduled_start_time = now() - interval '4 minutes' "
        "where id = %s",
        run,
    )
    assert "1 runs are overdue and not marked late" in str(health.check_services(place))
    databases.execute(place, "update flow_run set state_name = 'Late' where id = %s", run)
    assert health.check_services(place) is None
    databases.execute(place, "delete from flow where id = %s", flow)


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
    long_up: None,
) -> None:
    flow, deployment = str(uuid.uuid4()), str(uuid.uuid4())
    databases.execute(place, "insert into flow (id, name) values (%s, 'scheduled')", flow)
    databases.execute(
        place,
        "insert into deployment (id, name, flow_id, updated) values "
        "(%s, 'x', %s, now() - interval '10 minutes')",
        *(deployment, flow),
    )
    databases.execute(
        place,
        "insert into deployment_schedule (id, deployment_id, schedule, active, updated) values "
        "(%s, %s, %s, true, now() - interval '10 minutes')",
        *(str(uuid.uuid4()), deployment, json.dumps(schedule)),
    )
    problem = health.check_services(place)
    assert (problem is not None and "the scheduler stands still" in problem) == ill, problem
    databases.execute(
        place,
        "insert into flow_run (id, flow_id, deployment_id, name, auto_scheduled, "
        "next_scheduled_start_time) values (%s, %s, %s, 'x', true, now() + interval '1 hour')",
        *(str(uuid.uuid4()), flow, deployment),
    )
    assert health.check_services(place) is None
    databases.execute(place, "delete from flow where id = %s", flow)


@pytest.mark.usefixtures("long_up")
def test_a_schedule_that_may_yield_none_excuses_those_beside_it(place: Place) -> None:
    rows = PoolRows(place)
    rows.schedule({"interval": 3600})
    assert "the scheduler stands still" in rows.health()
    rows.schedule({"rrule": "FREQ=DAILY;UNTIL=20301231T000000Z"})
    assert rows.health() == ""
    rows.remove()


def test_in_the_first_minutes_no_schedule_and_no_run_makes_the_stack_ill(place: Place) -> None:
    rows = PoolRows(place)
    rows.schedule({"interval": 3600})
    rows.fill("RUNNING", minutes=10)
    assert rows.health() == ""
    rows.remove()


@pytest.fixture
def rows(place: Place, long_up: None) -> Iterator[PoolRows]:
    """The pool `default` of a stack that has been up for a long time."""
    rows = PoolRows(place)
    yield rows
    rows.remove()


class TestPools:
    @pytest.mark.parametrize(
        ("state", "minutes", "beat", "ill"),
        [
            ("PENDING", 6, None, True),
            ("PENDING", 4, None, False),
            ("RUNNING", 60, 4, True),
            ("RUNNING", 60, 2, False),
            ("RUNNING", 4, None, True),
            ("RUNNING", 2, None, False),
        ],
    )
    def test_one_that_is_full_of_runs_without_a_sign_of_life_is_ill(
        self,
        rows: PoolRows,
        state: str,
        minutes: float,
        beat: float | None,
        ill: bool,  # noqa: FBT001
    ) -> None:
        rows.fill(state, minutes, beat)
        expected = (
            "2 of 2 places of the work pool default are held by runs that show no sign of life"
        )
        assert rows.health() == (expected if ill else "")

    def test_one_of_them_alive_is_enough(self, rows: PoolRows) -> None:
        rows.run("RUNNING", minutes=60, beat=4)
        rows.run("RUNNING", minutes=60, beat=1)
        assert rows.health() == ""

    def test_runs_of_another_pool_need_not_send_heartbeats(self, rows: PoolRows) -> None:
        other = PoolRows(rows.place, "other")
        other.fill("RUNNING", minutes=60)
        assert rows.health() == ""
        other.fill("RUNNING", minutes=60, beat=10)
        assert "places of the work pool other" in rows.health()
        other.remove()

    def test_late_runs_that_nobody_takes_are_ill(self, rows: PoolRows) -> None:
        rows.run("SCHEDULED", "Late", minutes=2)
        assert rows.health() == ""
        for _ in range(3):
            rows.run("SCHEDULED", "Late", minutes=4)
        rows.run("RUNNING", minutes=60, beat=0)
        assert rows.health() == (
            "3 runs of the work pool default are late by more than 3 minutes and none has begun "
            "for 2, with 1 of 2 places taken"
        )
        rows.run("COMPLETED")
        rows.execute("update flow_run set start_time = now() where state_type = 'COMPLETED'")
        assert rows.health() == ""

    @pytest.mark.parametrize(
        "reason",
        [
            "update work_pool set is_paused = true",
            "update work_pool set concurrency_limit = 0",
            "update work_queue set is_paused = true",
            "update work_queue set concurrency_limit = 0",
            "update worker set last_heartbeat_time = now() - interval '1 minute'",
            FULL_DEPLOYMENT,
        ],
    )
    def test_late_runs_that_have_a_reason_to_wait_are_not(
        self, rows: PoolRows, reason: str
    ) -> None:
        rows.run("SCHEDULED", "Late", minutes=4)
        assert rows.health() != ""
        rows.execute(reason)
        assert rows.health() == ""

    def test_a_full_pool_that_works_may_have_late_runs(self, rows: PoolRows) -> None:
        rows.run("SCHEDULED", "Late", minutes=60)
        rows.fill("RUNNING", minutes=60, beat=0)
        assert rows.health() == ""


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
