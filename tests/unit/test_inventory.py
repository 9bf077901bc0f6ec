"""A transfer reads what a server holds through the kinds of bootstrap."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from scripts import inventory
from server.api.client import Answer

if TYPE_CHECKING:
    from server.api.client import Api

FLOW, DEPLOYMENT, POOL, OTHER = (str(UUID(int=number)) for number in range(1, 5))
OBJECTS: dict[str, Any] = {
    "/flows/filter": [{"id": FLOW, "name": "hello"}],
    "/deployments/filter": [
        {
            "id": DEPLOYMENT,
            "flow_id": FLOW,
            "name": "first",
            "paused": False,
            "schedules": [{"schedule": {"interval": 60}, "active": True}],
            "global_concurrency_limit": {
                "name": f"deployment:{DEPLOYMENT}",
                "limit": 2,
                "active_slots": 0,
                "slot_decay_per_second": 0,
            },
        },
        {"id": OTHER, "flow_id": FLOW, "name": "second", "schedules": []},
    ],
    "/work_pools/filter": [{"id": POOL, "name": "default", "base_job_template": {}}],
    "/work_queues/filter": [{"id": OTHER, "name": "default", "work_pool_name": "default"}],
    "/block_documents/filter": [{"id": OTHER, "name": "token", "block_type": {"slug": "secret"}}],
    "/variables/filter": [{"id": OTHER, "name": "colour"}],
    "/v2/concurrency_limits/filter": [
        {"id": OTHER, "name": "warehouse"},
        {"id": OTHER, "name": "tag:heavy"},
        {"id": OTHER, "name": f"deployment:{DEPLOYMENT}"},
    ],
    "/automations/filter": [
        {"id": OTHER, "name": "by name", "trigger": {"match": {"name": "hello"}}},
        {"id": OTHER, "name": "by id", "trigger": {"match": {"id": f"deployment.{DEPLOYMENT}"}}},
    ],
    "/flow_runs/count": 3,
    "/task_runs/count": 5,
    "/artifacts/count": 0,
}


@dataclass
class Server:
    """Answers with `OBJECTS`, and keeps the requests."""

    asked: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, body: object = None) -> Answer:  # noqa: ARG002
        self.asked.append(f"{method} {path}")
        return Answer(path, 200, json.dumps(OBJECTS[path]).encode(), None)


def test_every_kind_is_named_and_nothing_is_written() -> None:
    server = Server()
    held = inventory.read(cast("Api", server))
    assert held.names == {
        "work pool": {"default"},
        "work queue": {"default/default"},
        "deployment": {"hello/first", "hello/second"},
        "block": {"secret/token"},
        "variable": {"colour"},
        "concurrency limit": {"warehouse"},
        "tag limit": {"heavy"},
        "automation": {"by name", "by id"},
    }
    assert {each for each in server.asked if not each.startswith("POST /")} == set()
    assert {each.rpartition("/")[2] for each in server.asked} == {"filter", "count"}


def test_what_a_person_has_to_look_after_is_named() -> None:
    held = inventory.read(cast("Api", Server()))
    assert held.scheduled == {"hello/first"}
    assert held.limited == {"hello/first"}
    assert held.by_id == {"by id"}
    assert held.history == {"flow runs": 3, "task runs": 5, "artifacts": 0}
