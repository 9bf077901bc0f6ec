"""What the reclaimer gives back, and what it leaves, in a real PostgreSQL without a server."""

from __future__ import annotations

import json
import uuid
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from server import environment
from server.app import callers, leases
from server.app.callers import Caller
from server.app.leases import ConcurrencyLeaseStorage
from server.app.reclaimer import LOOK_EVERY, Reclaimer
from server.app.upstream import LeaseHolder, LeaseMetadata
from tests import serving
from tests.embedded import databases

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from server.place import Place

TTL = timedelta(minutes=5)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A database with Prefect's tables, and Prefect's settings for it."""
    folder = tmp_path_factory.mktemp("reclaimer")
    with databases.running(folder) as made:
        migration = databases.start("migrate", made.place, made.logs / "migrate.log")
        assert migration.wait(120) == 0, (made.logs / "migrate.log").read_text()
        with serving.settings(environment.database_url(made.place), folder):
            yield made.place


@pytest.fixture
def rows(place: Place) -> Iterator[Rows]:
    """Rows of the test's own, which are gone after it."""
    made = Rows(place)
    yield made
    made.execute("delete from flow where name = %s", made.key)
    made.execute("delete from concurrency_limit_v2")
    made.execute("delete from stack_concurrency_lease")


class Rows:
    """Inserts what a test needs."""

    def __init__(self, place: Place) -> None:
        """Begin with a flow."""
        self.place = place
        self.key = str(uuid.uuid4())
        self.flow = str(uuid.uuid4())
        self.execute("insert into flow (id, name) values (%s, %s)", self.flow, self.key)

    def execute(self, statement: str, *values: object) -> list[Any]:
        """Run one statement."""
        return databases.execute(self.place, statement, *values)

    def limit(self, active_slots: int = 1, decay: float = 0) -> uuid.UUID:
        """A limit of 5 with so many slots in use."""
        made = uuid.uuid4()
        self.execute(
            "insert into concurrency_limit_v2 "
            '(id, name, "limit", active, active_slots, denied_slots, slot_decay_per_second, '
            "avg_slot_occupancy_seconds) values (%s, %s, 5, true, %s, 0, %s, 2)",
            *(str(made), f"limit-{made}", active_slots, decay),
        )
        return made

    def deployment(self, limit: uuid.UUID | None = None) -> uuid.UUID:
        """A deployment, with a limit of its own or without."""
        made = uuid.uuid4()
        self.execute(
            "insert into deployment (id, name, flow_id, concurrency_limit_id) "
            "values (%s, %s, %s, %s)",
            *(str(made), str(made), self.flow, str(limit) if limit else None),
        )
        return made

    def run(
        self, state: str = "RUNNING", deployment: uuid.UUID | None = None, began: str = "1 hour"
    ) -> uuid.UUID:
        """A flow run in a state, that began so long ago."""
        made = uuid.uuid4()
        self.execute(
            "insert into flow_run (id, flow_id, name, state_type, state_name, deployment_id, "
            "start_time) values (%s, %s, 'x', %s, %s, %s, now() - %s::interval)",
            *(str(made), self.flow, state, state.title()),
            *(str(deployment) if deployment else None, began),
        )
        return made

    def task_run(self, run: uuid.UUID, state: str = "RUNNING") -> uuid.UUID:
        """A task run of `run`."""
        made = uuid.uuid4()
        self.execute(
            "insert into task_run (id, flow_run_id, name, task_key, dynamic_key, state_type, "
            "state_name) values (%s, %s, 'x', 'x', %s, %s, %s)",
            *(str(made), str(run), str(made), state, state.title()),
        )
        return made

    def become(self, run: uuid.UUID, state: str) -> None:
        """Bring a flow run into another state."""
        self.execute("update flow_run set state_type = %s where id = %s", state, str(run))

    def name_lease(self, run: uuid.UUID, lease: uuid.UUID) -> None:
        """Have the state of `run` name the lease, as Prefect does for a deployment's limit."""
        state = str(uuid.uuid4())
        details = json.dumps({"deployment_concurrency_lease_id": str(lease)})
        self.execute(
            "insert into flow_run_state (id, flow_run_id, type, name, state_details) "
            "values (%s, %s, 'RUNNING', 'Running', %s)",
            *(state, str(run), details),
        )
        self.execute("update flow_run set state_id = %s where id = %s", state, str(run))

    def in_use(self, limit: uuid.UUID) -> int:
        """How many slots of the limit are taken."""
        query = "select active_slots from concurrency_limit_v2 where id = %s"
        return int(self.execute(query, str(limit))[0][0])


class Looking:
    """A reclaimer whose clock goes on by its interval at each look."""

    def __init__(self) -> None:
        """Start the clock."""
        self.now = 0.0
        self.reclaimer = Reclaimer(lambda: self.now)
        self.leases = ConcurrencyLeaseStorage()

    async def look(self, times: int) -> None:
        """Look so many times."""
        for _ in range(times):
            await self.reclaimer.look()
            self.now += LOOK_EVERY

    async def lease(
        self, limit: uuid.UUID, holder: LeaseHolder | None = None, slots: int = 1
    ) -> uuid.UUID:
        """A new lease of the limit."""
        metadata = LeaseMetadata(slots=slots, holder=holder)
        return (await self.leases.create_lease([limit], TTL, metadata)).id


def run(claim: Callable[[Looking], Awaitable[None]]) -> None:
    """Run what a test claims, with the table of leases ready."""

    async def claimed() -> None:
        async with leases.ready():
            await claim(Looking())

    anyio.run(claimed)


@contextmanager
def called_by(caller: Caller) -> Iterator[None]:
    """As in a request of `caller`."""
    token = callers.CALLER.set(caller)
    try:
        yield
    finally:
        callers.CALLER.reset(token)


def flow_run(run_id: uuid.UUID) -> LeaseHolder:
    return LeaseHolder(type="flow_run", id=run_id)


@pytest.mark.parametrize("end", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED", "deleted"])
def test_a_lease_whose_run_has_ended_is_given_back_at_the_second_look(rows: Rows, end: str) -> None:
    limit, ends, lives = rows.limit(2), rows.run(), rows.run()

    async def claim(looking: Looking) -> None:
        ended = await looking.lease(limit, flow_run(ends))
        living = await looking.lease(limit, flow_run(lives))
        await looking.look(4)
        assert rows.in_use(limit) == 2
        if end == "deleted":
            rows.execute("delete from flow_run where id = %s", str(ends))
        else:
            rows.become(ends, end)
        await looking.look(1)
        assert rows.in_use(limit) == 2  # the run may be about to do it itself
        await looking.look(1)
        assert rows.in_use(limit) == 1
        assert await looking.leases.read_lease(ended) is None
        assert await looking.leases.read_lease(living) is not None
        await looking.look(4)
        assert rows.in_use(limit) == 1

    run(claim)


@pytest.mark.parametrize("who", ["task", "its flow"])
def test_a_lease_of_a_task_run_ends_with_it_or_with_its_flow_run(rows: Rows, who: str) -> None:
    limit, flow = rows.limit(), rows.run()
    task = rows.task_run(flow)

    async def claim(looking: Looking) -> None:
        await looking.lease(limit, LeaseHolder(type="task_run", id=task))
        await looking.look(2)
        assert rows.in_use(limit) == 1
        if who == "task":
            rows.execute("update task_run set state_type = 'FAILED' where id = %s", str(task))
        else:
            rows.become(flow, "CRASHED")
        await looking.look(2)
        assert rows.in_use(limit) == 0

    run(claim)


def test_a_lease_of_a_task_run_that_has_no_row_yet_stays(rows: Rows) -> None:
    limit = rows.limit()

    async def claim(looking: Looking) -> None:
        await looking.lease(limit, LeaseHolder(type="task_run", id=uuid.uuid4()))
        await looking.look(4)
        assert rows.in_use(limit) == 1

    run(claim)


def test_a_lease_that_names_nobody_is_the_callers(rows: Rows) -> None:
    limit, ends = rows.limit(), rows.run()

    async def claim(looking: Looking) -> None:
        with called_by(Caller(flow_run_id=ends)):
            lease = await looking.lease(limit)
        assert await looking.leases.list_holders_for_limit(limit) == [(lease, flow_run(ends))]
        await looking.look(2)
        assert rows.in_use(limit) == 1
        rows.become(ends, "CRASHED")
        await looking.look(2)
        assert rows.in_use(limit) == 0

    run(claim)


def test_a_lease_of_some_run_of_a_deployment_stays_while_one_lives_that_may_hold_it(
    rows: Rows,
) -> None:
    limit, deployment = rows.limit(), rows.deployment()
    ends, lives = rows.run(deployment=deployment), rows.run(deployment=deployment)
    rows.run()  # of no deployment

    async def claim(looking: Looking) -> None:
        with called_by(Caller(deployment_id=deployment)):
            await looking.lease(limit)
        rows.become(ends, "CRASHED")
        await looking.look(4)
        assert rows.in_use(limit) == 1
        rows.run(deployment=deployment, began="-1 minute")  # after the lease was made
        rows.become(lives, "COMPLETED")
        await looking.look(2)
        assert rows.in_use(limit) == 0

    run(claim)


def test_a_lease_of_an_unknown_holder_is_left_to_its_end(rows: Rows) -> None:
    limit = rows.limit()

    async def claim(looking: Looking) -> None:
        await looking.lease(limit)
        await looking.look(4)
        assert rows.in_use(limit) == 1

    run(claim)


@pytest.mark.parametrize("end", ["CRASHED", "deleted", "names another"])
def test_the_place_of_a_deployment_is_its_runs_whose_state_names_the_lease(
    rows: Rows, end: str
) -> None:
    limit = rows.limit()
    holds = rows.run(deployment=rows.deployment(limit))

    async def claim(looking: Looking) -> None:
        lease = await looking.lease(limit)
        rows.name_lease(holds, lease)
        await looking.look(4)
        assert rows.in_use(limit) == 1
        if end == "deleted":
            rows.execute("delete from flow_run where id = %s", str(holds))
        elif end == "names another":
            rows.name_lease(holds, uuid.uuid4())
        else:
            rows.become(holds, end)
        await looking.look(2)
        assert rows.in_use(limit) == 0

    run(claim)


@pytest.mark.parametrize("counted", [0, 1, 5])
def test_a_count_becomes_that_of_its_leases_when_it_has_differed_for_a_while(
    rows: Rows, counted: int
) -> None:
    limit, holds = rows.limit(counted), rows.run()

    async def claim(looking: Looking) -> None:
        await looking.lease(limit, flow_run(holds), slots=3)
        await looking.look(2)
        assert rows.in_use(limit) == counted
        await looking.look(1)
        assert rows.in_use(limit) == 3

    run(claim)


def test_a_count_that_changes_meanwhile_is_left(rows: Rows) -> None:
    limit, holds = rows.limit(2), rows.run()

    async def claim(looking: Looking) -> None:
        for _ in range(3):  # slots come and go, each a moment before its lease
            await looking.look(2)
            lease = await looking.lease(limit, flow_run(holds))
            assert rows.in_use(limit) == 2
            await looking.look(2)
            await looking.leases.revoke_lease(lease)

    run(claim)


def test_a_rate_limit_has_no_leases_and_is_left(rows: Rows) -> None:
    limit = rows.limit(4, decay=0.001)

    async def claim(looking: Looking) -> None:
        await looking.look(4)
        assert rows.in_use(limit) == 4

    run(claim)


def test_a_lease_can_be_renewed_runs_out_and_is_revoked(rows: Rows) -> None:
    limit = rows.limit()

    async def claim(looking: Looking) -> None:
        store = looking.leases
        lease = await store.create_lease([limit], timedelta(0), LeaseMetadata(slots=2))
        assert await store.read_expired_lease_ids() == [lease.id]
        assert await store.read_active_lease_ids() == []
        assert await store.renew_lease(lease.id, TTL)
        assert await store.read_expired_lease_ids() == []
        assert await store.read_active_lease_ids() == [lease.id]
        assert await store.read_active_lease_ids(offset=1) == []
        read = await store.read_lease(lease.id)
        assert read is not None
        assert (read.resource_ids, read.metadata) == ([limit], LeaseMetadata(slots=2))
        assert read.created_at == lease.created_at
        assert await store.list_holders_for_limit(limit) == []
        await store.revoke_lease(lease.id)
        await store.revoke_lease(lease.id)
        assert await store.read_lease(lease.id) is None
        assert not await store.renew_lease(lease.id, TTL)

    run(claim)
