"""Flow runs and task runs, which the server may not have heard of yet."""

from __future__ import annotations

import datetime as dt
import uuid
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .server import Server

RUNNING = {"type": "RUNNING"}


class Run(ABC):
    """What a flow run and a task run have in common."""

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
        """The id of the run, made on the server where that has not been done."""
        if self._id is None:
            self._id = self._make(server)
        return self._id

    def end(self, server: Server, state: dict[str, str]) -> None:
        """Set the state that the run ended in."""
        path = f"/{self.kind}_runs/{self.id(server)}/set_state"
        server.post(path, {"state": state, "force": True})

    @abstractmethod
    def _make(self, server: Server) -> str:
        """Make the run on the server; its id."""


class TaskRun(Run):
    """A step of a flow run, or of none."""

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


# Runs that no deployment made are told of when they fail if they have this tag: see stack.yaml.
ALERT = "alert"


class FlowRun(Run):
    """A run of the whole job, or of a part of it that has steps of its own."""

    kind = "flow"

    def __init__(self, name: str, parent: Run | None = None, key: str | None = None) -> None:
        super().__init__(name, parent)
        self._key, self._named = key or str(uuid.uuid4()), key
        # As in Prefect, a task run of the parent stands for the flow run below it.
        self._stand_in = TaskRun(name, parent) if parent else None
        self.beat_at = 0.0  # on the monotonic clock

    @property
    def flow_run(self) -> FlowRun | None:
        return self

    def beat(self, server: Server) -> None:
        """Say that the job is alive, so that the server can tell when it no longer is."""
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
    """The time, as the API takes it."""
    return dt.datetime.now().astimezone().isoformat()
