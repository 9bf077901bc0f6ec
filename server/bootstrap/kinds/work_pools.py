"""Work pools: where the runs of deployments wait for a worker of the pool's type."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessWorker
from pydantic import Field

from server.bootstrap import api, job_variables
from server.bootstrap.kind import Declared, Kind, Live, Strict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prefect.client.orchestration import SyncPrefectClient

PATH = "/work_pools"
# Of these two types, each worker serves the pools of both: `--type` says which is started.
SERVED_BY_EITHER = {"process", "prefork"}
METADATA = "/collections/views/aggregate-worker-metadata"


class WorkPool(Strict):
    """One pool. `base_job_template` is laid over the template that its type comes with."""

    name: Annotated[str, Field(pattern=r"^[^/%&><]+$")]
    type: str
    description: str | None = None
    concurrency_limit: Annotated[int, Field(ge=0)] | None = None
    base_job_template: dict[str, Any] = Field(default_factory=dict)
    queues: Any = None  # see work_queues


class WorkPools(Kind[WorkPool]):
    """The section `work_pools`."""

    name = "work pool"
    section = "work_pools"
    order = 20
    model = WorkPool

    def check_one(self, item: Declared[WorkPool]) -> None:
        """Keep what it gives to its runs, for their flows to be loaded with."""
        template = item.value.base_job_template
        self.world.templates[item.name] = template
        env = job_variables.of_template(template)["env"]
        for said in job_variables.empty_references(env):
            self.world.note(item, said, "base_job_template")

    def read(
        self,
        client: SyncPrefectClient,
        items: Sequence[Declared[WorkPool]],  # noqa: ARG002
    ) -> dict[str, Live]:
        """By name."""
        found = {each["name"]: each for each in api.every(client, f"{PATH}/filter")}
        self.world.templates |= {n: each["base_job_template"] for n, each in found.items()}
        return {name: Live(UUID(each["id"]), each) for name, each in found.items()}

    def compare(
        self, client: SyncPrefectClient, item: Declared[WorkPool], live: Live | None
    ) -> list[str]:
        """All but the type, which cannot be changed; between process and prefork it need not."""
        wanted = self._fields(client, item)
        template = wanted["base_job_template"]
        if fault := job_variables.template_fault(template):
            raise item.mistake(
                f"the base_job_template of the work pool {item.name!r} is not valid",
                "base_job_template",
                expected="variables that are a JSON schema, with defaults that it takes",
                found=fault,
            )
        self.world.templates[item.name] = template
        if live is None:
            return []
        types = {live.value["type"], item.value.type}
        if len(types) > 1 and types != SERVED_BY_EITHER:
            raise item.mistake(
                f"the work pool {item.name!r} is there with another type",
                "type",
                expected=f"{live.value['type']}, which the type of a pool cannot be changed from",
                found=item.value.type,
                do=f"correct it, or `prefect work-pool delete {item.name}` and bootstrap again",
            )
        return [name for name, value in wanted.items() if live.value[name] != value]

    def create(self, client: SyncPrefectClient, item: Declared[WorkPool]) -> UUID:
        """With its template; its queue `default` comes with it."""
        body = {
            "name": item.name,
            "type": item.value.type,
            **self._fields(client, item),
        }
        return UUID(api.call(client, "POST", f"{PATH}/", body)["id"])

    def update(self, client: SyncPrefectClient, item: Declared[WorkPool], live: Live) -> None:
        """All fields at once; whether it is paused is not sent."""
        api.call(client, "PATCH", f"{PATH}/{live.value['name']}", self._fields(client, item))

    def delete(self, client: SyncPrefectClient, name: str, live: Live) -> None:  # noqa: ARG002
        """With its queues."""
        api.call(client, "DELETE", f"{PATH}/{name}")

    def _fields(self, client: SyncPrefectClient, item: Declared[WorkPool]) -> dict[str, Any]:
        return {
            "description": item.value.description,
            "concurrency_limit": item.value.concurrency_limit,
            "base_job_template": job_template(client, item),
        }


def job_template(client: SyncPrefectClient, item: Declared[WorkPool]) -> dict[str, Any]:
    """The template of the pool's type with what is declared laid over it.

    Raises:
        MistakeError: nobody knows the type, and no whole template is declared.
    """
    pool = item.value
    template: dict[str, Any] | None = _of_type(client, pool.type)
    if template is None and not {"job_configuration", "variables"} <= pool.base_job_template.keys():
        raise item.mistake(
            f"the work pool {item.name!r} has a type that is not known here",
            "type",
            expected=f"{ProcessWorker.type}, another type whose package is installed, or a whole "
            "base_job_template (job_configuration and variables)",
            found=pool.type,
        )
    return merge(template or {}, pool.base_job_template)


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with `above` laid over it, mapping by mapping; a list is replaced whole."""
    merged = deepcopy(dict(below))
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = merge(old, value)
        else:
            merged[key] = deepcopy(value)
    return merged


def _of_type(client: SyncPrefectClient, kind: str) -> dict[str, Any] | None:
    worker = BaseWorker.get_worker_class_from_type(kind)
    if worker is not None:
        return dict(worker.get_default_base_job_template())
    # The server knows the workers of other packages.
    collections = api.find(client, METADATA) or {}
    for workers in collections.values():
        for each in workers.values():
            if each["type"] == kind:
                return dict(each["default_base_job_configuration"])
    return None
