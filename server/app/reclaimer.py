"""Gives back places of concurrency limits that nobody holds any more.

A run that is killed gives nothing back, and its lease lasts for five minutes. A server that is
killed between counting a slot and keeping its lease, or the other way round, leaves a count that no
lease explains. Both are found here, within a minute of the server's start or the run's end.

Leases that have run out are Prefect's own repossessor's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.app import upstream
from server.app.leases import LEASES
from server.app.outage import is_outage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

LOOK_EVERY = 10  # seconds
# How long a count has to differ from its leases in the same way. A slot is counted in one
# transaction and its lease kept in another, an instant later.
DIFFERS_FOR = 20  # seconds, and three looks
LOOKS = 3

TERMINAL = "('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')"

# Leases whose holder has ended or is deleted. Who holds a lease is known in one of four ways.
ABANDONED = sa.text(f"""
select lease.id
from stack_concurrency_lease lease
left join flow_run run on lease.holder_type = 'flow_run' and run.id = lease.holder_id
left join task_run task on lease.holder_type = 'task_run' and task.id = lease.holder_id
left join flow_run task_of on task_of.id = task.flow_run_id
where case
  -- 1. It is a flow run.
  when lease.holder_type = 'flow_run' then
    run.id is null or run.state_type in {TERMINAL}
  -- 2. It is a task run, which ends with its flow run. Its row comes by an event, a little later.
  when lease.holder_type = 'task_run' then
    task.state_type in {TERMINAL} or task_of.state_type in {TERMINAL}
  -- 3. The limit is a deployment's: the state of the run that holds it names the lease.
  when lease.holder_type is null and exists (
    select from deployment where deployment.concurrency_limit_id = any(lease.resource_ids)
  ) then not exists (
    select
    from deployment
    join flow_run holding on holding.deployment_id = deployment.id
    join flow_run_state state on state.id = holding.state_id
    where deployment.concurrency_limit_id = any(lease.resource_ids)
      and holding.state_type not in {TERMINAL}
      and state.state_details::jsonb ->> 'deployment_concurrency_lease_id' = lease.id::text
  )
  -- 4. It is one of the runs of a deployment that had begun when the lease was made.
  when lease.holder_type is null and lease.deployment_id is not null then not exists (
    select
    from flow_run holding
    where holding.deployment_id = lease.deployment_id
      and holding.state_type not in {TERMINAL}
      and holding.start_time <= lease.created_at + interval '5 seconds'
  )
  else false
end
""")  # noqa: S608 - a constant

# Limits whose count is not the sum of their leases. Those that decay (rate limits) have no leases.
# `newest` changes when a lease is made, though count and sum may not.
DIFFERING = sa.text("""
select limits.id, limits.name, limits.active_slots as counted,
  coalesce(sum(lease.slots), 0)::integer as leased, max(lease.created_at) as newest
from concurrency_limit_v2 limits
left join stack_concurrency_lease lease on limits.id = any(lease.resource_ids)
where limits.active and limits.slot_decay_per_second = 0
group by limits.id
having limits.active_slots <> coalesce(sum(lease.slots), 0)
""")
SET = sa.text(
    "update concurrency_limit_v2 set active_slots = :leased "
    "where id = :id and active_slots = :counted"
)

logger = logging.getLogger("prefect.server.reclaimer")


class Reclaimer:
    """What was seen at the last looks, and what is done when it is seen again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing seen."""
        self.clock = clock
        self.abandoned: set[UUID] = set()
        # By what differs, how: when it was first seen so, and how often.
        self.differing: dict[tuple[Any, ...], tuple[float, int]] = {}

    async def look(self) -> None:
        """Look once, and give back what was seen to be nobody's before."""
        await self._look_for_abandoned()
        await self._look_for_differing()

    async def _look_for_abandoned(self) -> None:
        """Give back leases at the second look: a run that has just ended does so itself."""
        async with upstream.transaction() as session:
            seen = set((await session.execute(ABANDONED)).scalars())
        for lease_id in seen & self.abandoned:
            async with upstream.transaction() as session:
                await _give_back(session, lease_id)
        self.abandoned = seen - self.abandoned

    async def _look_for_differing(self) -> None:
        async with upstream.transaction() as session:
            rows = (await session.execute(DIFFERING)).all()
        now = self.clock()
        before = self.differing
        self.differing = {}
        for row in rows:
            first, looks = before.get(tuple(row), (now, 0))
            if looks + 1 >= LOOKS and now - first >= DIFFERS_FOR:
                await _set(row)
            else:
                self.differing[tuple(row)] = (first, looks + 1)


async def _give_back(session: AsyncSession, lease_id: UUID) -> None:
    """Take the lease away and give its slots back, in one transaction and only once."""
    deleted = await session.execute(
        LEASES.delete().where(LEASES.c.id == lease_id).returning(LEASES, sa.func.now().label("now"))
    )
    lease = deleted.one_or_none()
    if lease is None:  # its run was faster
        return
    held = max((lease.now - lease.created_at).total_seconds(), 0.001)
    if lease.slots:
        await upstream.give_back(session, list(lease.resource_ids), lease.slots, held)
    logger.info("Gave back the lease %s, %.0f s old: its holder has ended", lease_id, held)


async def _set(row: Any) -> None:
    async with upstream.transaction() as session:
        values = {"id": row.id, "counted": row.counted, "leased": row.leased}
        await session.execute(SET, values)
    logger.warning(
        "Set the slots in use of the limit %r from %d to %d: so many have a lease",
        *(row.name, row.counted, row.leased),
    )


async def _run() -> None:
    reclaimer = Reclaimer()
    while True:
        try:
            await reclaimer.look()
        except Exception as error:
            if not is_outage(error):  # which has a line of its own already
                logger.exception("Could not look for leases that nobody holds; trying again")
        await asyncio.sleep(LOOK_EVERY)


@asynccontextmanager
async def reclaiming() -> AsyncIterator[None]:
    """Look every few seconds, until the server ends."""
    task = asyncio.create_task(_run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
