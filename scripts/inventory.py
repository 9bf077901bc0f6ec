"""Lists what is on a server by name, so that a transfer can report what it has not copied."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.api import pagination
from server.bootstrap import kinds
from server.bootstrap.api import asking
from server.bootstrap.world import World
from server.settings import ROOT

if TYPE_CHECKING:
    from server.api.client import Api

WATCHED = ("deployment", "work pool", "work queue")  # kinds that a trigger may name by id
# Scheduled runs do not count: the schedules on the other server create them again.
STARTED = {"flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}}}


class _Client:
    """The client that the kinds of `server.bootstrap` expect, for any server."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return self._api.ask(method, path, body).json()


@dataclass(frozen=True)
class Inventory:
    """The objects on a server."""

    names: dict[str, set[str]]  # by kind
    scheduled: set[str]  # deployments with an active schedule
    limited: set[str]  # deployments with a concurrency limit
    by_id: set[str]  # automations whose trigger names an object by its id
    history: dict[str, int]  # how many of each kind of record


def read(api: Api) -> Inventory:
    """Read the inventory of one server.

    Raises:
        OSError: the server does not answer.
        ValueError: the server refuses a request.
    """
    client = _Client(api)
    resources = {kind.name: list(kind.every()) for kind in kinds.every(World(ROOT), client)}
    deployments = {name: live.value for name, live in resources["deployment"]}
    ids = {*pagination.flows(asking(client))}
    ids |= {str(live.id) for kind in WATCHED for _, live in resources[kind]}
    return Inventory(
        names={kind: {name for name, _ in of_kind} for kind, of_kind in resources.items()},
        scheduled={
            name
            for name, deployment in deployments.items()
            if not deployment.paused and any(schedule.active for schedule in deployment.schedules)
        },
        limited={
            name for name, deployment in deployments.items() if deployment.global_concurrency_limit
        },
        by_id={
            name
            for name, live in resources["automation"]
            if any(known in json.dumps(live.value["trigger"]) for known in ids)
        },
        history={
            "flow runs": client.call("POST", "/flow_runs/count", STARTED),
            "task runs": client.call("POST", "/task_runs/count", {}),
            "artifacts": client.call("POST", "/artifacts/count", {}),
        },
    )
