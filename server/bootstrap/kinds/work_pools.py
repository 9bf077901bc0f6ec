"""Work pools: the runs of deployments wait in them for a worker of the pool's type."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessWorker
from pydantic import Field

from server.bootstrap import api, job_variables
from server.bootstrap.kind import Kind
from server.bootstrap.resource import Declared, Difference, Live, Strict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Pools of these types are served by workers of both: `--type` selects the worker.
INTERCHANGEABLE_TYPES = {"process", "prefork"}
METADATA = "/collections/views/aggregate-worker-metadata"


class WorkPool(Strict):
    """One pool; `base_job_template` is merged over the default template of its type."""

    name: Annotated[str, Field(pattern=r"^[^/%&><]+$")]
    type: str
    description: str | None = None
    concurrency_limit: Annotated[int, Field(ge=0)] | None = None
    base_job_template: dict[str, Any] = Field(default_factory=dict)
    queues: Any = None  # read by `work_queues`


class WorkPools(Kind[WorkPool]):
    """The section `work_pools` of `stack.yaml`."""

    name = "work pool"
    section = "work_pools"
    order = 20
    model = WorkPool
    path = "/work_pools"

    def check_one(self, item: Declared[WorkPool]) -> None:
        """Remember the template, so that flows are loaded with the pool's environment."""
        template = item.value.base_job_template
        self.world.templates[item.name] = template
        env = job_variables.of_template(template)["env"]
        for note in job_variables.empty_references(env):
            self.world.note(item, note, "base_job_template")

    def every(self) -> Iterator[tuple[str, Live]]:
        for pool in api.every(self.client, f"{self.path}/filter"):
            yield pool["name"], Live(UUID(pool["id"]), pool)

    def read(self, items: Sequence[Declared[WorkPool]]) -> dict[str, Live]:
        """Remember the templates too: job variables of deployments are checked against them."""
        pools = super().read(items)
        self.world.templates |= {n: live.value["base_job_template"] for n, live in pools.items()}
        return pools

    def compare(self, item: Declared[WorkPool], live: Live | None) -> Difference:
        """Compare all fields except the type, which the server cannot change.

        A pool may have the type process where prefork is declared and vice versa, because workers
        of both types serve it.
        """
        pool = item.value
        template = self._job_template(item)
        if fault := job_variables.template_fault(template):
            raise item.mistake(
                f"the base_job_template of the work pool {item.name!r} is not valid",
                "base_job_template",
                expected="variables in the form of a JSON schema, with defaults that match it",
                found=fault,
            )
        self.world.templates[item.name] = template
        fields = {
            "description": pool.description,
            "concurrency_limit": pool.concurrency_limit,
            "base_job_template": template,
        }
        if live is None:
            return Difference({"name": item.name, "type": pool.type, **fields})
        types = {live.value["type"], pool.type}
        if len(types) > 1 and types != INTERCHANGEABLE_TYPES:
            raise item.mistake(
                f"the work pool {item.name!r} already exists with another type",
                "type",
                expected=f"{live.value['type']}: the type of an existing pool cannot be changed",
                found=pool.type,
                do=f"correct it, or `prefect work-pool delete {item.name}` and bootstrap again",
            )
        return Difference(fields, tuple(n for n, value in fields.items() if live.value[n] != value))

    def create(self, item: Declared[WorkPool], payload: Any) -> UUID:  # noqa: ARG002
        """Create the pool, with which the server creates its queue `default`."""
        return UUID(self.client.call("POST", f"{self.path}/", payload)["id"])

    def update(self, live: Live, payload: Any) -> None:
        """Set all fields except `is_paused`, which people switch in the UI."""
        self.client.call("PATCH", f"{self.path}/{live.value['name']}", payload)

    def delete(self, live: Live) -> None:
        """Remove the pool with its queues."""
        self.client.call("DELETE", f"{self.path}/{live.value['name']}")

    def _job_template(self, item: Declared[WorkPool]) -> dict[str, Any]:
        """The declared template, merged over the default template of the pool's type.

        Raises:
            MistakeError: the type is unknown, and the declared template is not complete.
        """
        pool = item.value
        template = self._template_of_type(pool.type)
        whole = {"job_configuration", "variables"} <= pool.base_job_template.keys()
        if template is None and not whole:
            raise item.mistake(
                f"the work pool {item.name!r} has a type that is not known here",
                "type",
                expected=f"{ProcessWorker.type}, another type whose package is installed, or a "
                "whole base_job_template (job_configuration and variables)",
                found=pool.type,
            )
        return merge(template or {}, pool.base_job_template)

    def _template_of_type(self, worker_type: str) -> dict[str, Any] | None:
        worker = BaseWorker.get_worker_class_from_type(worker_type)
        if worker is not None:
            return dict(worker.get_default_base_job_template())
        # The server also knows worker types whose packages are not installed here.
        collections = api.find(self.client, METADATA) or {}
        for workers in collections.values():
            for metadata in workers.values():
                if metadata["type"] == worker_type:
                    return dict(metadata["default_base_job_configuration"])
        return None


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `above` recursively over `below`; only mappings are merged, lists are replaced."""
    merged = deepcopy(dict(below))
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = merge(old, value)
        else:
            merged[key] = deepcopy(value)
    return merged
