"""Inserts the flows, runs, deployments and limits that the reclaimer looks at."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from tests.embedded import databases

if TYPE_CHECKING:
    from server.place import Place


class Rows:
    """Inserts the rows that a test needs, beginning with a flow."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.key = str(uuid.uuid4())
        self.flow = str(uuid.uuid4())
        self.execute("insert into flow (id, name) values (%s, %s)", self.flow, self.key)

    def execute(self, statement: str, *values: object) -> list[Any]:
        return databases.execute(self.place, statement, *values)

    def limit(self, active_slots: int = 1, decay: float = 0) -> uuid.UUID:
        """Insert a concurrency limit of 5 with some slots in use; return its id."""
        limit_id = uuid.uuid4()
        self.execute(
            "insert into concurrency_limit_v2 "
            '(id, name, "limit", active, active_slots, denied_slots, slot_decay_per_second, '
            "avg_slot_occupancy_seconds) values (%s, %s, 5, true, %s, 0, %s, 2)",
            *(str(limit_id), f"limit-{limit_id}", active_slots, decay),
        )
        return limit_id

    def deployment(self, limit: uuid.UUID | None = None) -> uuid.UUID:
        """Insert a deployment, with its own limit or without; return its id."""
        deployment_id = uuid.uuid4()
        self.execute(
            "insert into deployment (id, name, flow_id, concurrency_limit_id) "
            "values (%s, %s, %s, %s)",
            *(str(deployment_id), str(deployment_id), self.flow, str(limit) if limit else None),
        )
        return deployment_id

    def run(
        self, state: str = "RUNNING", deployment: uuid.UUID | None = None, began: str = "1 hour"
    ) -> uuid.UUID:
        """Insert a flow run that began the interval `began` ago; return its id."""
        run_id = uuid.uuid4()
        self.execute(
            "insert into flow_run (id, flow_id, name, state_type, state_name, deployment_id, "
            "start_time) values (%s, %s, 'x', %s, %s, %s, now() - %s::interval)",
            *(str(run_id), self.flow, state, state.title()),
            *(str(deployment) if deployment else None, began),
        )
        return run_id

    def task_run(self, run: uuid.UUID, state: str = "RUNNING") -> uuid.UUID:
        """Insert a task run of the flow run `run`; return its id."""
        task_run_id = uuid.uuid4()
        self.execute(
            "insert into task_run (id, flow_run_id, name, task_key, dynamic_key, state_type, "
            "state_name) values (%s, %s, 'x', 'x', %s, %s, %s)",
            *(str(task_run_id), str(run), str(task_run_id), state, state.title()),
        )
        return task_run_id

    def become(self, run: uuid.UUID, state: str) -> None:
        """Change the type of a flow run's state."""
        self.execute("update flow_run set state_type = %s where id = %s", state, str(run))

    def name_lease(self, run: uuid.UUID, lease: uuid.UUID) -> None:
        """Make the state of `run` name the lease, as Prefect does for a deployment's limit."""
        state = str(uuid.uuid4())
        details = json.dumps({"deployment_concurrency_lease_id": str(lease)})
        self.execute(
            "insert into flow_run_state (id, flow_run_id, type, name, state_details) "
            "values (%s, %s, 'RUNNING', 'Running', %s)",
            *(state, str(run), details),
        )
        self.execute("update flow_run set state_id = %s where id = %s", state, str(run))

    def in_use(self, limit: uuid.UUID) -> int:
        """Return how many slots of the limit are in use."""
        query = "select active_slots from concurrency_limit_v2 where id = %s"
        return int(self.execute(query, str(limit))[0][0])
