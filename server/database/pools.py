"""Checks in the database that the work pools make progress.

A pool may be full of runs whose processes have died, or may have free slots that no worker fills,
while the API still answers. The message of each rule says what was found, with numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.place import WORK_POOL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

VALUES: Mapping[str, object] = {
    # The pool of this stack's own worker, whose runs send a heartbeat every 30 s (see
    # `server.services.worker`). This worker has no concurrency limit of its own.
    "own": WORK_POOL,
    "silent": "3 minutes",  # a Running run without a sign of life for longer is considered dead,
    "pending": "5 minutes",  # and so is a run that has been Pending for longer
    "late": "3 minutes",
    "began": "2 minutes",
    "worker": "45 seconds",  # workers send a heartbeat every 30 s
}

# After a start, silence may only mean that the machine or the stack was down. PostgreSQL is the
# first process that starts.
JUST_STARTED = "select pg_postmaster_start_time() > now() - interval '5 minutes'"

# A run takes a slot of its pool while it is Running or Pending (get-runs-from-worker-queues.sql in
# Prefect). In other pools than the stack's own, a run may be alive and still never send a
# heartbeat.
SILENT = """
with holding as (
  select pool.name, pool.concurrency_limit, run.state_type, run.state_timestamp, (
    select event.occurred from events event
    where event.event = 'prefect.flow-run.heartbeat'
      and event.resource_id = 'prefect.flow-run.' || run.id
    order by event.occurred desc limit 1
  ) as beat
  from flow_run run
  join work_queue queue on queue.id = run.work_queue_id
  join work_pool pool on pool.id = queue.work_pool_id
  where run.state_type in ('RUNNING', 'PENDING') and pool.concurrency_limit > 0
)
select name, count(*), concurrency_limit from holding
where case state_type
  when 'PENDING' then state_timestamp < now() - %(pending)s::interval
  else greatest(beat, state_timestamp) < now() - %(silent)s::interval
    and (beat is not null or name = %(own)s)
end
group by name, concurrency_limit
having count(*) >= concurrency_limit
order by name limit 1
"""

# Runs that wait for a slot of their deployment's limit are AwaitingConcurrencySlot and not Late;
# runs that are about to get that state are excluded by counting the slots of the limit. A pool
# without a live worker is not a fault of the stack. Other pools than the stack's own are judged
# only while they run nothing, because their workers may have limits of their own.
WAITING = """
with taken as (
  select run.work_queue_id, count(*) as runs from flow_run run
  where run.state_type in ('RUNNING', 'PENDING') group by run.work_queue_id
), pool as (
  select pool.id, pool.name, pool.concurrency_limit, coalesce(sum(taken.runs), 0) as taken
  from work_pool pool
  join work_queue queue on queue.work_pool_id = pool.id
  left join taken on taken.work_queue_id = queue.id
  where not pool.is_paused
  group by pool.id
)
select pool.name, count(*), pool.taken, pool.concurrency_limit
from flow_run run
join work_queue queue on queue.id = run.work_queue_id and not queue.is_paused
join pool on pool.id = queue.work_pool_id
left join taken on taken.work_queue_id = queue.id
left join deployment on deployment.id = run.deployment_id
left join concurrency_limit_v2 deployments on deployments.id = deployment.concurrency_limit_id
where run.state_type = 'SCHEDULED' and run.state_name = 'Late'
  and run.next_scheduled_start_time < now() - %(late)s::interval
  and run.state_timestamp < now() - %(late)s::interval
  and (pool.taken = 0 or pool.name = %(own)s)
  and (pool.concurrency_limit is null or pool.taken < pool.concurrency_limit)
  and (queue.concurrency_limit is null or coalesce(taken.runs, 0) < queue.concurrency_limit)
  and (deployments.id is null or deployments.active_slots < deployments."limit")
  and exists (
    select from worker where worker.work_pool_id = pool.id
      and worker.last_heartbeat_time > now() - %(worker)s::interval
  )
  and not exists (
    select from flow_run begun join work_queue on work_queue.id = begun.work_queue_id
    where work_queue.work_pool_id = pool.id and begun.start_time > now() - %(began)s::interval
  )
group by pool.name, pool.taken, pool.concurrency_limit
order by pool.name limit 1
"""


def just_started(connection: Connection) -> bool:
    """Whether the stack started so recently that a silent run or pool may be healthy."""
    with connection.cursor() as cursor:
        cursor.execute(JUST_STARTED)
        return cursor.fetchone() == (True,)


def stalled(connection: Connection) -> str | None:
    """None if every pool that has runs makes progress, otherwise which pool does not, and why."""
    with connection.cursor() as cursor:
        cursor.execute(SILENT, VALUES)
        if row := cursor.fetchone():
            name, silent, limit = row
            return (
                f"{silent} of {limit} places of the work pool {name} are held by runs that show "
                "no sign of life"
            )
        cursor.execute(WAITING, VALUES)
        if row := cursor.fetchone():
            name, late, taken, limit = row
            return (
                f"{late} runs of the work pool {name} are late by more than 3 minutes and none "
                f"has begun for 2, with {taken} of {limit or 'unlimited'} places taken"
            )
    return None
