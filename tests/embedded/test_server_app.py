"""The server on a real PostgreSQL that goes away, is full, or holds slots of killed processes."""

from __future__ import annotations

import json
import signal
import uuid
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import httpx
import psycopg2
import pytest

from server.database import connection as database
from tests.embedded import databases
from tests.embedded.databases import Database, Server
from tests.stack import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.place import Place

RUNNING = {"type": "RUNNING"}
CRASHED = {"type": "CRASHED"}


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A running PostgreSQL with Prefect's tables."""
    with databases.running(tmp_path_factory.mktemp("server")) as postgresql:
        migration = databases.start("migrate", postgresql.place, postgresql.logs / "migrate.log")
        assert migration.wait(120) == 0, (postgresql.logs / "migrate.log").read_text()
        yield postgresql


@pytest.fixture(scope="module")
def server(postgresql: Database) -> Iterator[Server]:
    """A running server process on that PostgreSQL."""
    server = Server(postgresql)
    try:
        server.start()
        yield server
    finally:
        server.end()
        server.client.close()


def asks_to_wait(response: httpx.Response) -> bool:
    """Tell whether this answer makes Prefect's client retry without counting its attempts."""
    maintenance = response.headers.get("Prefect-Maintenance") == "true"
    assert not maintenance or response.headers["Retry-After"] == "1"
    return response.status_code == httpx.codes.SERVICE_UNAVAILABLE and maintenance


def create_flow(server: Server) -> str:
    """Create a flow; return its id."""
    return str(server.post_json("/flows/", {"name": str(uuid.uuid4())})["id"])


def create_run(server: Server, **fields: Any) -> str:
    """Create a run in the state Running; return its id."""
    run = str(server.post_json("/flow_runs/", {"flow_id": create_flow(server), **fields})["id"])
    server.post_json(f"/flow_runs/{run}/set_state", {"state": RUNNING, "force": True})
    return run


class TestOutage:
    def test_requests_are_told_to_wait_until_the_database_is_back(
        self, server: Server, postgresql: Database
    ) -> None:
        flow = create_flow(server)
        assert server.post("/flows/filter", {}).status_code == 200
        postgresql.stop()
        try:
            assert asks_to_wait(server.post("/flows/filter", {}))
            # It never reached PostgreSQL, so the client may send it again.
            assert asks_to_wait(server.post("/flow_runs/", {"flow_id": flow}))
            assert asks_to_wait(server.post("/flow_runs/count", {}))
            assert server.client.get("/health").status_code == 200
            assert server.client.get("/ready").status_code == 503
        finally:
            postgresql.start()
        wait_for("answer", lambda: server.post("/flows/filter", {}).status_code == 200, 10)
        assert server.post("/flow_runs/", {"flow_id": flow}).status_code == 201
        assert len(server.post_json("/flow_runs/filter", {"flows": {"id": {"any_": [flow]}}})) == 1

    def test_what_was_under_way_is_told_to_wait_too(
        self, server: Server, postgresql: Database
    ) -> None:
        flow = create_flow(server)
        with at_insert(
            postgresql.place, "flow_run", "perform pg_terminate_backend(pg_backend_pid())"
        ):
            assert asks_to_wait(server.post("/flow_runs/", {"flow_id": flow}))
        assert server.post("/flow_runs/", {"flow_id": flow}).status_code == 201

    def test_what_would_be_there_twice_is_not_repeated_after_a_cut_in_its_commit(
        self, server: Server, postgresql: Database
    ) -> None:
        flow = create_flow(server)
        cut = "perform pg_terminate_backend(pg_backend_pid())"
        with at_insert(postgresql.place, "flow_run", cut, at_commit=True):
            unknown = server.post("/flow_runs/", {"flow_id": flow})
            assert unknown.status_code == 500
            assert "whether it was done is not known" in unknown.json()["exception_message"]
            assert asks_to_wait(
                server.post("/flow_runs/", {"flow_id": flow, "idempotency_key": "x"})
            )
        with at_insert(postgresql.place, "flow", cut, at_commit=True):
            assert asks_to_wait(server.post("/flows/", {"name": str(uuid.uuid4())}))

    def test_a_full_disk_is_waited_for(self, server: Server, postgresql: Database) -> None:
        full = "raise exception 'no space left' using errcode = 'disk_full'"
        with at_insert(postgresql.place, "flow", full):
            assert asks_to_wait(server.post("/flows/", {"name": str(uuid.uuid4())}))

    def test_connections_that_others_have_taken_are_waited_for(
        self, server: Server, postgresql: Database
    ) -> None:
        others = (
            "from pg_stat_activity "
            "where application_name <> 'stack taken' and usename = current_user"
        )
        with ExitStack() as taken:
            first = taken.enter_context(database.connect(postgresql.place, "taken"))

            def has_taken_all() -> bool:
                """Disconnect the others and take the free connections; the others may be faster."""
                with first.cursor() as cursor:
                    cursor.execute(f"select pg_terminate_backend(pid) {others}")
                    with suppress(psycopg2.OperationalError):
                        while True:
                            taken.enter_context(database.connect(postgresql.place, "taken"))
                    cursor.execute(f"select count(*) {others} and backend_type = 'client backend'")
                    return cursor.fetchone() == (0,)

            wait_for("connection, all of them", has_taken_all, 30)
            assert asks_to_wait(server.post("/flows/filter", {}))
        wait_for("answer", lambda: server.post("/flows/filter", {}).status_code == 200, 10)

    def test_a_request_that_the_database_refuses_is_not_waited_for(self, server: Server) -> None:
        refused = server.post("/flow_runs/filter", {"offset": 10**30})
        assert not refused.is_success
        assert not asks_to_wait(refused)


class at_insert:  # noqa: N801 - reads as what it does
    """Makes PostgreSQL run a statement for each row inserted into a table, or at its commit."""

    def __init__(
        self, place: Place, table: str, statement: str, *, at_commit: bool = False
    ) -> None:
        self.place, self.table, self.statement = place, table, statement
        kind = "constraint trigger test_cut after" if at_commit else "trigger test_cut after"
        when = "deferrable initially deferred" if at_commit else ""
        self.create = (
            f"create {kind} insert on {table} {when} for each row execute function test_cut()"
        )

    def __enter__(self) -> None:
        databases.execute(
            self.place,
            "create or replace function test_cut() returns trigger language plpgsql as "
            f"$$ begin {self.statement}; return new; end $$",
        )
        databases.execute(self.place, self.create)

    def __exit__(self, *_: object) -> None:
        databases.execute(self.place, f"drop trigger test_cut on {self.table}")


class TestSlots:
    def test_what_run_and_server_held_when_they_were_killed_is_free_within_a_minute(
        self, server: Server, postgresql: Database
    ) -> None:
        names = [f"limit-{uuid.uuid4()}" for _ in range(2)]
        for name in names:
            server.post_json("/v2/concurrency_limits/", {"name": name, "limit": 2})
        lives, dies = create_run(server), create_run(server)
        for run in (lives, dies):
            holder = {"type": "flow_run", "id": run}
            body = {"names": names[:1], "slots": 1, "lease_duration": 300, "holder": holder}
            server.post_json("/v2/concurrency_limits/increment-with-lease", body)
        # The count that a server leaves if it is killed before it has stored the lease.
        postgresql.execute(
            "update concurrency_limit_v2 set active_slots = 2 where name = %s", names[1]
        )
        server.end(signal.SIGKILL)
        server.start()
        assert in_use(server, names[0]) == 2
        server.post_json(f"/flow_runs/{dies}/set_state", {"state": CRASHED, "force": True})
        wait_for("free slot", lambda: in_use(server, names[0]) == 1, 60)
        wait_for("free slots", lambda: in_use(server, names[1]) == 0, 60)
        assert in_use(server, names[0]) == 1  # the living run still holds its slot

    def test_a_crashed_run_frees_the_place_of_its_deployment_at_once(self, server: Server) -> None:
        deployment = server.post_json(
            "/deployments/",
            {"name": "x", "flow_id": create_flow(server), "concurrency_limit": 1},
        )["id"]
        run = server.post_json(f"/deployments/{deployment}/create_flow_run", {})["id"]
        for state in ("PENDING", "RUNNING"):
            body = {"state": {"type": state}}
            assert server.post_json(f"/flow_runs/{run}/set_state", body)["status"] == "ACCEPT"
        limit = f"deployment:{deployment}"
        assert in_use(server, limit) == 1
        server.post_json(f"/flow_runs/{run}/set_state", {"state": CRASHED, "force": True})
        assert in_use(server, limit) == 0


def in_use(server: Server, limit: str) -> int:
    """Return how many slots of the limit are in use."""
    answer = server.client.get(f"/v2/concurrency_limits/{limit}")
    answer.raise_for_status()
    return int(json.loads(answer.content)["active_slots"])
