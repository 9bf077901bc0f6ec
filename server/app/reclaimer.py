"""Releases slots of concurrency limits that nobody holds any more.

A run that is killed does not release its slots, and its lease lasts for five minutes. A server that
is killed after counting a slot and before storing the lease, or vice versa, leaves a count that
does not match the leases. This task finds and repairs both, within a minute of the run's end or of
the server's start.

Expired leases are left to Prefect's own repossessor.
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
# How long, and in how many looks, a count must differ from its leases in the same way before it is
# corrected. A short difference is normal: a slot is counted in one transaction, and its lease is
# stored in another one just after it.
DIFFERS_FOR = 20  # seconds
LOOKS = 3

TERMINAL = "('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')"

# Leases whose holder has ended or was deleted. There are four ways to know who holds a lease.
ABANDONED = sa.text(f"""
select lease.id
from stack_concurrency_lease lease
left join flow_run run on lease.holder_type = 'flow_run' and run.id = lease.holder_id
left join task_run task on lease.holder_type = 'task_run' and task.id = lease.holder_id
left join flow_run task_of on task_of.id = task.flow_run_id
where case
  -- 1. The holder is a flow run.
  when lease.holder_type = 'flow_run' then
    run.id is null or run.state_type in {TERMINAL}
  -- 2. The holder is a task run, which ends with its flow run. Its row is written a little later,
  --    from an event.
  when lease.holder_type = 'task_run' then
    task.state_type in {TERMINAL} or task_of.state_type in {TERMINAL}
  -- 3. The limit belongs to a deployment: the state of the run that holds it names the lease.
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
  -- 4. Only the deployment is known: the holder is one of its runs that had started when the lease
  --    was created.
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

# Limits whose count differs from the sum of their leases, without rate limits, which have no
# leases. `newest` tells a lasting difference from a new one with the same numbers.
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
    """Looks for abandoned slots repeatedly, and releases those that it finds several times."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.abandoned: set[UUID] = set()  # leases that the last look found
        # Rows of `DIFFERING`, with the time of the first look that found them and the number of
        # looks.
        self.differing: dict[tuple[Any, ...], tuple[float, int]] = {}

    async def look(self) -> None:
        """Look once, and release what earlier looks have found as well."""
        await self._look_for_abandoned()
        await self._look_for_differing()

    async def _look_for_abandoned(self) -> None:
        """Release leases that two looks have found: a run that has just ended does so itself."""
        async with upstream.transaction() as session:
            abandoned = set((await session.execute(ABANDONED)).scalars())
        for lease_id in abandoned & self.abandoned:
            async with upstream.transaction() as session:
                await _release(session, lease_id)
        self.abandoned = abandoned - self.abandoned

    async def _look_for_differing(self) -> None:
        async with upstream.transaction() as session:
            rows = (await session.execute(DIFFERING)).all()
        now = self.clock()
        previous = self.differing
        self.differing = {}
        for row in rows:
            first_seen, looks = previous.get(tuple(row), (now, 0))
            if looks + 1 >= LOOKS and now - first_seen >= DIFFERS_FOR:
                await _correct_count(row)
            else:
                self.differing[tuple(row)] = (first_seen, looks + 1)


async def _release(session: AsyncSession, lease_id: UUID) -> None:
    """Delete the lease and release its slots, in one transaction; do nothing if it is gone."""
    deleted = await session.execute(
        LEASES.delete().where(LEASES.c.id == lease_id).returning(LEASES, sa.func.now().label("now"))
    )
    lease = deleted.one_or_none()
    if lease is None:  # the run has released it meanwhile
        return
    held_seconds = max((lease.now - lease.created_at).total_seconds(), 0.001)
    if lease.slots:
        await upstream.release_slots(session, list(lease.resource_ids), lease.slots, held_seconds)
    logger.info("Released the lease %s after %.0f s: its holder has ended", lease_id, held_seconds)


async def _correct_count(row: Any) -> None:
    async with upstream.transaction() as session:
        values = {"id": row.id, "counted": row.counted, "leased": row.leased}
        await session.execute(SET, values)
    logger.warning(
        "Changed the slots in use of the limit %r from %d to %d, which is how many have a lease",
        *(row.name, row.counted, row.leased),
    )


async def _run() -> None:
    reclaimer = Reclaimer()
    while True:
        try:
            await reclaimer.look()
        except Exception as error:
            if not is_outage(error):  # `Outages` logs those
                logger.exception("Could not look for abandoned leases; trying again")
        await asyncio.sleep(LOOK_EVERY)


@asynccontextmanager
async def reclaiming() -> AsyncIterator[None]:
    """Run a `Reclaimer` in the background, which looks every `LOOK_EVERY` seconds."""
    task = asyncio.create_task(_run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
