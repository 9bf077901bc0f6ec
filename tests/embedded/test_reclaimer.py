"""What the reclaimer releases, and what it leaves, in a real PostgreSQL without a server."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

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
from tests.embedded.lease_rows import Rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from server.place import Place

TTL = timedelta(minutes=5)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A database with Prefect's tables; this process has the settings of its server."""
    folder = tmp_path_factory.mktemp("reclaimer")
    with databases.running(folder) as postgresql:
        migration = databases.start("migrate", postgresql.place, postgresql.logs / "migrate.log")
        assert migration.wait(120) == 0, (postgresql.logs / "migrate.log").read_text()
        with serving.settings(environment.database_url(postgresql.place), folder):
            yield postgresql.place


@pytest.fixture
def rows(place: Place) -> Iterator[Rows]:
    """Inserts the rows of a test, which are deleted after it."""
    rows = Rows(place)
    yield rows
    rows.execute("delete from flow where name = %s", rows.key)
    rows.execute("delete from concurrency_limit_v2")
    rows.execute("delete from stack_concurrency_lease")


class SteppedReclaimer:
    """A reclaimer with a clock that each look advances by the interval between looks."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reclaimer = Reclaimer(lambda: self.now)
        self.leases = ConcurrencyLeaseStorage()

    async def look(self, times: int) -> None:
        for _ in range(times):
            await self.reclaimer.look()
            self.now += LOOK_EVERY

    async def lease(
        self, limit: uuid.UUID, holder: LeaseHolder | None = None, slots: int = 1
    ) -> uuid.UUID:
        """Create a lease of the limit; return its id."""
        metadata = LeaseMetadata(slots=slots, holder=holder)
        return (await self.leases.create_lease([limit], TTL, metadata)).id


def run(claim: Callable[[SteppedReclaimer], Awaitable[None]]) -> None:
    """Run `claim` with a reclaimer, after the table of leases was created."""

    async def claimed() -> None:
        async with leases.ready():
            await claim(SteppedReclaimer())

    anyio.run(claimed)


@contextmanager
def called_by(caller: Caller) -> Iterator[None]:
    """Act as if within a request of `caller`."""
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

    async def claim(stepped: SteppedReclaimer) -> None:
        ended = await stepped.lease(limit, flow_run(ends))
        living = await stepped.lease(limit, flow_run(lives))
        await stepped.look(4)
        assert rows.in_use(limit) == 2
        if end == "deleted":
            rows.execute("delete from flow_run where id = %s", str(ends))
        else:
            rows.become(ends, end)
        await stepped.look(1)
        assert rows.in_use(limit) == 2  # the run may be about to release it itself
        await stepped.look(1)
        assert rows.in_use(limit) == 1
        assert await stepped.leases.read_lease(ended) is None
        assert await stepped.leases.read_lease(living) is not None
        await stepped.look(4)
        assert rows.in_use(limit) == 1

    run(claim)


@pytest.mark.parametrize("who", ["task", "its flow"])
def test_a_lease_of_a_task_run_ends_with_it_or_with_its_flow_run(rows: Rows, who: str) -> None:
    limit, flow = rows.limit(), rows.run()
    task = rows.task_run(flow)

    async def claim(stepped: SteppedReclaimer) -> None:
        await stepped.lease(limit, LeaseHolder(type="task_run", id=task))
        await stepped.look(2)
        assert rows.in_use(limit) == 1
        if who == "task":
            rows.execute("update task_run set state_type = 'FAILED' where id = %s", str(task))
        else:
            rows.become(flow, "CRASHED")
        await stepped.look(2)
        assert rows.in_use(limit) == 0

    run(claim)


def test_a_lease_of_a_task_run_that_has_no_row_yet_stays(rows: Rows) -> None:
    limit = rows.limit()

    async def claim(stepped: SteppedReclaimer) -> None:
        await stepped.lease(limit, LeaseHolder(type="task_run", id=uuid.uuid4()))
        await stepped.look(4)
        assert rows.in_use(limit) == 1

    run(claim)


def test_a_lease_that_names_nobody_is_the_callers(rows: Rows) -> None:
    limit, ends = rows.limit(), rows.run()

    async def claim(stepped: SteppedReclaimer) -> None:
        with called_by(Caller(flow_run_id=ends)):
            lease = await stepped.lease(limit)
        assert await stepped.leases.list_holders_for_limit(limit) == [(lease, flow_run(ends))]
        await stepped.look(2)
        assert rows.in_use(limit) == 1
        rows.become(ends, "CRASHED")
        await stepped.look(2)
        assert rows.in_use(limit) == 0

    run(claim)


def test_a_lease_of_some_run_of_a_deployment_stays_while_one_lives_that_may_hold_it(
    rows: Rows,
) -> None:
    limit, deployment = rows.limit(), rows.deployment()
    ends, lives = rows.run(deployment=deployment), rows.run(deployment=deployment)
    rows.run()  # a run without a deployment

    async def claim(stepped: SteppedReclaimer) -> None:
        with called_by(Caller(deployment_id=deployment)):
            await stepped.lease(limit)
        rows.become(ends, "CRASHED")
        await stepped.look(4)
        assert rows.in_use(limit) == 1
        rows.run(deployment=deployment, began="-1 minute")  # it began after the lease was created
        rows.become(lives, "COMPLETED")
        await stepped.look(2)
        assert rows.in_use(limit) == 0

    run(claim)


def test_a_lease_of_an_unknown_holder_is_left_to_its_end(rows: Rows) -> None:
    limit = rows.limit()

    async def claim(stepped: SteppedReclaimer) -> None:
        await stepped.lease(limit)
        await stepped.look(4)
        assert rows.in_use(limit) == 1

    run(claim)


@pytest.mark.parametrize("end", ["CRASHED", "deleted", "names another"])
def test_the_place_of_a_deployment_is_its_runs_whose_state_names_the_lease(
    rows: Rows, end: str
) -> None:
    limit = rows.limit()
    holds = rows.run(deployment=rows.deployment(limit))

    async def claim(stepped: SteppedReclaimer) -> None:
        lease = await stepped.lease(limit)
        rows.name_lease(holds, lease)
        await stepped.look(4)
        assert rows.in_use(limit) == 1
        if end == "deleted":
            rows.execute("delete from flow_run where id = %s", str(holds))
        elif end == "names another":
            rows.name_lease(holds, uuid.uuid4())
        else:
            rows.become(holds, end)
        await stepped.look(2)
        assert rows.in_use(limit) == 0

    run(claim)


@pytest.mark.parametrize("counted", [0, 1, 5])
def test_a_count_becomes_that_of_its_leases_when_it_has_differed_for_a_while(
    rows: Rows, counted: int
) -> None:
    limit, holds = rows.limit(counted), rows.run()

    async def claim(stepped: SteppedReclaimer) -> None:
        await stepped.lease(limit, flow_run(holds), slots=3)
        await stepped.look(2)
        assert rows.in_use(limit) == counted
        await stepped.look(1)
        assert rows.in_use(limit) == 3

    run(claim)


def test_a_count_that_changes_meanwhile_is_left(rows: Rows) -> None:
    limit, holds = rows.limit(2), rows.run()

    async def claim(stepped: SteppedReclaimer) -> None:
        for _ in range(3):  # slots change, each a moment before its lease
            await stepped.look(2)
            lease = await stepped.lease(limit, flow_run(holds))
            assert rows.in_use(limit) == 2
            await stepped.look(2)
            await stepped.leases.revoke_lease(lease)

    run(claim)


def test_a_rate_limit_has_no_leases_and_is_left(rows: Rows) -> None:
    limit = rows.limit(4, decay=0.001)

    async def claim(stepped: SteppedReclaimer) -> None:
        await stepped.look(4)
        assert rows.in_use(limit) == 4

    run(claim)


def test_a_lease_can_be_renewed_runs_out_and_is_revoked(rows: Rows) -> None:
    limit = rows.limit()

    async def claim(stepped: SteppedReclaimer) -> None:
        store = stepped.leases
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
