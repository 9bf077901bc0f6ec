"""Work pools: where the runs of deployments wait for a worker of the pool's type."""

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

# A worker of either type serves the pools of both: `--type` says which one is started.
SERVED_BY_EITHER = {"process", "prefork"}
METADATA = "/collections/views/aggregate-worker-metadata"


class WorkPool(Strict):
    """One pool. `base_job_template` is merged over the template of its type."""

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
    path = "/work_pools"

    def check_one(self, item: Declared[WorkPool]) -> None:
        """Keep its template, so that flows are loaded with its environment."""
        template = item.value.base_job_template
        self.world.templates[item.name] = template
        env = job_variables.of_template(template)["env"]
        for said in job_variables.empty_references(env):
            self.world.note(item, said, "base_job_template")

    def every(self) -> Iterator[tuple[str, Live]]:
        for each in api.every(self.client, f"{self.path}/filter"):
            yield each["name"], Live(UUID(each["id"]), each)

    def read(self, items: Sequence[Declared[WorkPool]]) -> dict[str, Live]:
        """Keep their templates, which the job variables of deployments are checked against."""
        found = super().read(items)
        self.world.templates |= {n: live.value["base_job_template"] for n, live in found.items()}
        return found

    def compare(self, item: Declared[WorkPool], live: Live | None) -> Difference:
        """Compare all fields but the type, which cannot be changed.

        A pool of type process need not become one of type prefork: either worker serves both.
        """
        pool = item.value
        template = self._job_template(item)
        if fault := job_variables.template_fault(template):
            raise item.mistake(
                f"the base_job_template of the work pool {item.name!r} is not valid",
                "base_job_template",
                expected="variables that are a JSON schema, with defaults that it takes",
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
        if len(types) > 1 and types != SERVED_BY_EITHER:
            raise item.mistake(
                f"the work pool {item.name!r} is there with another type",
                "type",
                expected=f"{live.value['type']}, which the type of a pool cannot be changed from",
                found=pool.type,
                do=f"correct it, or `prefect work-pool delete {item.name}` and bootstrap again",
            )
        return Difference(fields, tuple(n for n, value in fields.items() if live.value[n] != value))

    def create(self, item: Declared[WorkPool], payload: Any) -> UUID:  # noqa: ARG002
        """Create it; the server creates its queue `default` with it."""
        return UUID(self.client.call("POST", f"{self.path}/", payload)["id"])

    def update(self, live: Live, payload: Any) -> None:
        """Set all fields at once; whether it is paused is not sent."""
        self.client.call("PATCH", f"{self.path}/{live.value['name']}", payload)

    def delete(self, live: Live) -> None:
        """Remove it with its queues."""
        self.client.call("DELETE", f"{self.path}/{live.value['name']}")

    def _job_template(self, item: Declared[WorkPool]) -> dict[str, Any]:
        """The declared template merged over that of the pool's type.

        Raises:
            MistakeError: the type is not known here, and no whole template is declared.
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

    def _template_of_type(self, kind: str) -> dict[str, Any] | None:
        worker = BaseWorker.get_worker_class_from_type(kind)
        if worker is not None:
            return dict(worker.get_default_base_job_template())
        # The server knows the workers of other packages.
        collections = api.find(self.client, METADATA) or {}
        for workers in collections.values():
            for each in workers.values():
                if each["type"] == kind:
                    return dict(each["default_base_job_configuration"])
        return None


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
