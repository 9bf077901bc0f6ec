"""Flow runs and task runs, which are created on the server when they are first needed there."""

from __future__ import annotations

import datetime as dt
import uuid
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .server import Server

RUNNING = {"type": "RUNNING"}


class Run(ABC):
    """The common base of flow runs and task runs."""

    kind = ""

    def __init__(self, name: str, parent: Run | None) -> None:
        self.name, self.parent = name, parent
        self.log_prints: bool = parent is not None and parent.log_prints
        self._id: str | None = None

    @property
    @abstractmethod
    def flow_run(self) -> FlowRun | None:
        """The flow run that this run is part of."""

    def id(self, server: Server) -> str:
        """Return the id of the run; create it on the server if it is not there yet."""
        if self._id is None:
            self._id = self._make(server)
        return self._id

    def end(self, server: Server, state: dict[str, str]) -> None:
        """Set the final state of the run."""
        path = f"/{self.kind}_runs/{self.id(server)}/set_state"
        server.post(path, {"state": state, "force": True})

    @abstractmethod
    def _make(self, server: Server) -> str:
        """Create the run on the server; return its id."""


class TaskRun(Run):
    """A step, within a flow run or outside of any."""

    kind = "task"

    def __init__(self, name: str, parent: Run | None) -> None:
        super().__init__(name, parent)
        self._key = str(uuid.uuid4())

    @property
    def flow_run(self) -> FlowRun | None:
        return self.parent.flow_run if self.parent else None

    def _make(self, server: Server) -> str:
        within = self.flow_run
        above: dict[str, Any] = {}
        if isinstance(self.parent, TaskRun):
            above["__parents__"] = [{"input_type": "task_run", "id": self.parent.id(server)}]
        body = {
            "id": self._key,
            "flow_run_id": within.id(server) if within else None,
            "name": f"{self.name}-{self._key[:3]}",
            "task_key": self.name,
            "dynamic_key": self._key,
            "task_inputs": above,
            "state": RUNNING,
        }
        return str(server.post("/task_runs/", body)["id"])


# An automation in stack.yaml notifies of failed runs that have this tag and no deployment.
ALERT = "alert"


class FlowRun(Run):
    """A run of the whole job, or of a part that has steps of its own."""

    kind = "flow"

    def __init__(self, name: str, parent: Run | None = None, key: str | None = None) -> None:
        super().__init__(name, parent)
        self._key, self._named = key or str(uuid.uuid4()), key
        # As in Prefect, a subflow run is represented by a task run of its parent.
        self._stand_in = TaskRun(name, parent) if parent else None
        self.beat_at = 0.0  # when the next heartbeat is due, on the monotonic clock

    @property
    def flow_run(self) -> FlowRun | None:
        return self

    def beat(self, server: Server) -> None:
        """Send a heartbeat, so that the server notices when the job is gone."""
        resource = {
            "prefect.resource.id": f"prefect.flow-run.{self.id(server)}",
            "prefect.resource.name": self.name,
        }
        event = {"event": "prefect.flow-run.heartbeat", "resource": resource}
        server.post("/events", [{**event, "id": str(uuid.uuid4()), "occurred": now()}])

    def _make(self, server: Server) -> str:
        body = {
            "flow_id": server.flow(self.name),
            "idempotency_key": self._key,
            "parent_task_run_id": self._stand_in.id(server) if self._stand_in else None,
            "state": RUNNING,
            "tags": [] if self._stand_in else [ALERT],
        }
        if self._named:
            body["name"] = self._named
        return str(server.post("/flow_runs/", body)["id"])


def now() -> str:
    """Return the current time as the API expects it."""
    return dt.datetime.now().astimezone().isoformat()
