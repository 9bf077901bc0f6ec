"""The health check of the server, which requires progress: an answer alone proves little.

A server can answer requests while its background services hang (upstream #22436): schedules then
create no runs, and no run is ever marked late. Both show in the database, as do work pools that
make no progress (`pools`), so this module looks there. In the first minutes after the start of the
stack only the marking of late runs is checked, so that no schedule and no run can keep `up` from
finishing.

Docker runs this module as a command; the supervisor of an embedded stack calls `check_service`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import psycopg2

from server.api.http_check import check_http
from server.database import connection as database
from server.database import pools
from server.place import DOCKER, Place

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

    from server.settings import Settings

# A loop of the server that runs every 5 s marks runs late 15 s after their scheduled time.
NOT_MARKED_LATE = """
select count(*) from flow_run
where state_type = 'SCHEDULED' and state_name = 'Scheduled'
  and next_scheduled_start_time < now() - interval '3 minutes'
"""
# The scheduler loop runs every 60 s. A deployment counts only if each of its schedules is an
# interval of at most a day, or a cron without a day of the month or a month: these always have a
# next run within the scheduler's horizon. Other schedules may have none, or may fail and take the
# deployment's other schedules with them, which is a mistake in the deployment and not a fault of
# the server.
SCHEDULES = """
with simple as (
  select deployment.id, count(*) as schedules
  from deployment
  join deployment_schedule on deployment_schedule.deployment_id = deployment.id
  where deployment_schedule.active and not deployment.paused
  group by deployment.id
  having greatest(max(deployment_schedule.updated), max(deployment.updated))
      < now() - interval '5 minutes'
    and bool_and(coalesce(
      schedule::jsonb->>'cron' ~ '^\\s*\\S+\\s+\\S+\\s+\\*\\s+\\*\\s+\\S+\\s*$'
      or (schedule::jsonb->>'interval')::float <= 86400, false))
)
select coalesce(sum(simple.schedules), 0), count(run.deployment_id) as planned
from simple
left join lateral (
  select flow_run.deployment_id from flow_run
  where flow_run.deployment_id = simple.id and flow_run.auto_scheduled
    and flow_run.next_scheduled_start_time > now()
  limit 1
) run on true
"""


def check_services(place: Place) -> str | None:
    """None if the server's background services make progress, otherwise what does not."""
    try:
        with database.connect(place, "health") as connection:
            return _stalled(connection)
    except psycopg2.Error as error:
        return str(error).strip()


def _stalled(connection: Connection) -> str | None:
    with connection.cursor() as cursor:
        cursor.execute(NOT_MARKED_LATE)
        (overdue,) = cursor.fetchone() or (0,)
        if overdue:
            return f"{overdue} runs are overdue and not marked late: the services stand still"
        if pools.just_started(connection):
            return None
        cursor.execute(SCHEDULES)
        schedules, planned = cursor.fetchone() or (0, 0)
        if schedules and not planned:
            return f"no upcoming run for {schedules} active schedules: the scheduler stands still"
    return pools.stalled(connection)


def check_service(_settings: Settings, place: Place, _started: float) -> str | None:
    """`check_server`, with the signature that `server.service.health_of` expects."""
    return check_server(place)


def check_server(place: Place) -> str | None:
    """None if the API reaches its database and the background services make progress.

    Otherwise what is wrong.
    """
    host = "127.0.0.1" if place.listen_host == DOCKER.listen_host else place.listen_host
    return check_http(host, place.listen_port, "/api/ready") or check_services(place)


def main() -> None:
    """Check the server in this container, and exit with 1 if it is unhealthy."""
    if problem := check_server(DOCKER):
        sys.exit(problem)


if __name__ == "__main__":
    main()
