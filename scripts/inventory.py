"""What is on a server, by name: to tell what a transfer has not carried."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.api import pagination

if TYPE_CHECKING:
    from server.api.client import Api

ORDER = "BLOCK_TYPE_AND_NAME_ASC"  # of blocks, without ties
# Runs that wait for their time are made anew by the schedules of the other side.
STARTED = {"flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}}}


@dataclass(frozen=True)
class Inventory:
    """The objects of a server."""

    names: dict[str, set[str]]  # by kind
    scheduled: set[str]  # deployments with an active schedule
    limited: set[str]  # deployments with a concurrency limit
    by_id: set[str]  # automations whose trigger names an object by its id
    history: dict[str, int]  # how many of each kind of record


def read(api: Api) -> Inventory:
    """Read it.

    Raises:
        OSError: the server does not answer.
        ValueError: it refuses.
    """

    def ask(path: str, body: pagination.Body) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = api.ask("POST", path, body).json()
        return found

    flows = pagination.flows(ask)
    pools, queues = (
        list(pagination.every(ask, f"/{kind}/filter")) for kind in ("work_pools", "work_queues")
    )
    deployments = {
        f"{flows.get(each['flow_id'])}/{each['name']}": each
        for each in pagination.deployments(ask, list(flows))
    }
    ids = [*flows, *(each["id"] for each in [*deployments.values(), *pools, *queues])]
    automations = {each["name"]: each for each in pagination.every(ask, "/automations/filter")}
    return Inventory(
        names={
            "work pool": {each["name"] for each in pools},
            "work queue": {f"{each['work_pool_name']}/{each['name']}" for each in queues},
            "deployment": set(deployments),
            "block": {
                f"{each['block_type']['slug']}/{each['name']}"
                for each in pagination.every(ask, "/block_documents/filter", {"sort": ORDER})
            },
            "variable": {
                each["name"]
                for each in pagination.every(ask, "/variables/filter", {"sort": "NAME_ASC"})
            },
            "concurrency limit": {
                each["name"] for each in pagination.every(ask, "/v2/concurrency_limits/filter")
            },
            "automation": set(automations),
        },
        scheduled={
            name
            for name, each in deployments.items()
            if not each["paused"] and any(schedule["active"] for schedule in each["schedules"])
        },
        limited={name for name, each in deployments.items() if each["global_concurrency_limit"]},
        by_id={
            name
            for name, each in automations.items()
            if any(known in json.dumps(each["trigger"]) for known in ids)
        },
        history={
            "flow runs": _count(api, "/flow_runs/count", STARTED),
            "task runs": _count(api, "/task_runs/count", {}),
            "artifacts": _count(api, "/artifacts/count", {}),
        },
    )


def _count(api: Api, path: str, body: object) -> int:
    return int(api.ask("POST", path, body).json())
