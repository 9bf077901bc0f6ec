"""Rows of a work pool and its runs, inserted into a database that no server uses."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

from server.database import health
from tests.embedded import databases

if TYPE_CHECKING:
    from server.place import Place


class PoolRows:
    """A pool with a concurrency limit of 2, a worker, a deployment and runs."""

    def __init__(self, place: Place, pool: str = "default") -> None:
        self.place = place
        self.pool, self.queue, self.flow, self.deployment = (str(uuid.uuid4()) for _ in range(4))
        self.execute(
            "insert into work_pool (id, name, type, concurrency_limit, status) "
            "values (%s, %s, 'process', 2, 'READY')",
            *(self.pool, pool),
        )
        self.execute(
            "insert into work_queue (id, name, work_pool_id) values (%s, 'default', %s)",
            *(self.queue, self.pool),
        )
        self.execute(
            "insert into worker (id, name, work_pool_id, last_heartbeat_time) "
            "values (%s, 'x', %s, now())",
            *(str(uuid.uuid4()), self.pool),
        )
        self.execute("insert into flow (id, name) values (%s, %s)", self.flow, self.flow)
        self.execute(
            "insert into deployment (id, name, flow_id, updated) "
            "values (%s, 'x', %s, now() - interval '10 minutes')",
            *(self.deployment, self.flow),
        )

    def execute(self, statement: str, *values: object) -> None:
        databases.execute(self.place, statement, *values)

    def run(self, state: str, name: str = "", minutes: float = 0, beat: float | None = None) -> str:
        """Insert a run that has been in `state` for `minutes`; return its id.

        Its last heartbeat was `beat` minutes ago; None: it has never sent one.
        """
        run_id = str(uuid.uuid4())
        self.execute(
            "insert into flow_run (id, flow_id, deployment_id, work_queue_id, name, state_type, "
            "state_name, state_timestamp, start_time, next_scheduled_start_time) "
            "values (%s, %s, %s, %s, 'x', %s, %s, now() - %s::interval, "
            "case when %s then now() - %s::interval end, now() - %s::interval)",
            *(run_id, self.flow, self.deployment, self.queue, state, name or state.title()),
            *(f"{minutes} minutes", state == "RUNNING", *[f"{minutes} minutes"] * 2),
        )
        if beat is not None:
            self.execute(
                "insert into events (id, occurred, event, resource_id, resource, payload, "
                "received, recorded) values (%s, now() - %s::interval, "
                "'prefect.flow-run.heartbeat', %s, '{}', '{}', now(), now())",
                *(str(uuid.uuid4()), f"{beat} minutes", f"prefect.flow-run.{run_id}"),
            )
        return run_id

    def fill(self, state: str, minutes: float, beat: float | None = None) -> None:
        """Insert as many such runs as the pool may run at once."""
        for _ in range(2):
            self.run(state, minutes=minutes, beat=beat)

    def schedule(self, schedule: dict[str, object]) -> None:
        """Add an active schedule to the deployment."""
        self.execute(
            "insert into deployment_schedule (id, deployment_id, schedule, active, updated) "
            "values (%s, %s, %s, true, now() - interval '10 minutes')",
            *(str(uuid.uuid4()), self.deployment, json.dumps(schedule)),
        )

    def health(self) -> str:
        """Return what the health check complains about; empty when the stack is healthy."""
        return health.check_services(self.place) or ""

    def remove(self) -> None:
        """Delete all rows that were inserted, and every event."""
        self.execute("delete from flow where id = %s", self.flow)
        self.execute("delete from work_pool where id = %s", self.pool)
        self.execute("delete from events")
