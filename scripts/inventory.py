"""What is on a server, by name: to tell what a transfer has not carried."""

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

WATCHED = ("deployment", "work pool", "work queue")  # what a trigger may name by its id
# Runs that wait for their time are made anew by the schedules of the other side.
STARTED = {"flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}}}


class _Client:
    """Sends the requests of the kinds to `api`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return self._api.ask(method, path, body).json()


@dataclass(frozen=True)
class Inventory:
    """The objects of a server."""

    names: dict[str, set[str]]  # by kind
    scheduled: set[str]  # deployments with an active schedule
    limited: set[str]  # deployments with a concurrency limit
    by_id: set[str]  # automations whose trigger names an object by its id
    history: dict[str, int]  # how many of each kind of record


def read(api: Api) -> Inventory:
    """Read the inventory of one server.

    Raises:
        OSError: the server does not answer.
        ValueError: it refuses a request.
    """
    client = _Client(api)
    found = {kind.name: list(kind.every()) for kind in kinds.every(World(ROOT), client)}
    deployments = {name: live.value for name, live in found["deployment"]}
    ids = {*pagination.flows(asking(client))}
    ids |= {str(live.id) for kind in WATCHED for _, live in found[kind]}
    return Inventory(
        names={kind: {name for name, _ in resources} for kind, resources in found.items()},
        scheduled={
            name
            for name, each in deployments.items()
            if not each.paused and any(schedule.active for schedule in each.schedules)
        },
        limited={name for name, each in deployments.items() if each.global_concurrency_limit},
        by_id={
            name
            for name, live in found["automation"]
            if any(known in json.dumps(live.value["trigger"]) for known in ids)
        },
        history={
            "flow runs": client.call("POST", "/flow_runs/count", STARTED),
            "task runs": client.call("POST", "/task_runs/count", {}),
            "artifacts": client.call("POST", "/artifacts/count", {}),
        },
    )
