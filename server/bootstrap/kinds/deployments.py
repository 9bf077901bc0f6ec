"""Deployments: the flows that can be run and scheduled, in Prefect's own file and format."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.utilities.schema_tools.validation import validate

from server import pages
from server.bootstrap import api, flows, schedules
from server.bootstrap.deployment import Deployment
from server.bootstrap.kind import Declared, Kind, Live

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.flows import Flow

    from server.bootstrap.kind import Location, World

# The parts of a JSON schema that say what a value has to be.
RULES = ("type", "format", "pattern", "minimum", "maximum", "exclusiveMinimum", "maxLength")


class Deployments(Kind[Deployment]):
    """The section `deployments`, of `prefect.yaml`."""

    name = "deployment"
    section = "deployments"
    order = 40
    model = Deployment
    file = "prefect.yaml"

    def __init__(self, world: World) -> None:
        """Remember the flows that were loaded, by entrypoint."""
        super().__init__(world)
        self._flows: dict[str, Flow[..., Any]] = {}
        self._schemas: dict[str, dict[str, Any]] = {}

    def find(self, content: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
        """With the pull steps of the whole file, where a deployment has none of its own."""
        for where, raw in super().find(content):
            common = {"pull": content.get("pull") or []}
            yield where, {**common, **raw} if isinstance(raw, dict) else raw

    def label(self, value: Any) -> str:
        """What it is known by before its flow is loaded."""
        return f"{value.entrypoint}/{value.name}"

    def check(self, items: Sequence[Declared[Deployment]]) -> Sequence[Declared[Deployment]]:
        """Load every flow, check parameters and schedules; each by the name that Prefect shows."""
        named = []
        for item in items:
            _check_slugs(item)
            entrypoint = item.value.entrypoint
            if entrypoint not in self._flows:
                flow = flows.load(self.world.root, item)
                self._flows[entrypoint] = flow
                self._schemas[entrypoint] = flow.parameters.model_dump(exclude_unset=True)
            _check_parameters(item, self._schemas[entrypoint])
            full_name = f"{self._flows[entrypoint].name}/{item.value.name}"
            named.append(replace(item, name=full_name))
        return named

    def read(
        self,
        client: SyncPrefectClient,
        items: Sequence[Declared[Deployment]],  # noqa: ARG002
    ) -> dict[str, Live]:
        """By full name."""
        ask = api.asking(client)
        names = pages.flows(ask)
        raw = pages.deployments(ask, list(names))
        found = map(DeploymentResponse.model_validate, raw)
        return {f"{names[str(each.flow_id)]}/{each.name}": Live(each.id, each) for each in found}

    def compare(
        self,
        client: SyncPrefectClient,
        item: Declared[Deployment],
        live: Live | None,
    ) -> list[str]:
        """The fields, and the schedules by their slugs."""
        pool = item.value.work_pool.name
        if not self.world.knows("work pool", pool):
            raise item.mistake(
                f"the deployment {item.name!r} names a work pool that is not there",
                *("work_pool", "name"),
                expected="a work pool that stack.yaml declares, or that is on the server",
                found=pool,
            )
        if live is None:
            return []
        steps = schedules.plan(client, live.id, item.value.schedules, live.value.schedules)
        return [*self._changed(item, live.value), *(name for name, _ in steps)]

    def create(self, client: SyncPrefectClient, item: Declared[Deployment]) -> UUID:
        """With its schedules, and its flow where that is new."""
        flow = self._flows[item.value.entrypoint]
        return client.create_deployment(
            flow_id=client.create_flow_from_name(flow.name),
            name=item.value.name,
            schedules=[schedules.to_create(schedule) for schedule in item.value.schedules],
            **{name: value for name, value in self.fields(item).items() if value is not None},
        )

    def update(self, client: SyncPrefectClient, item: Declared[Deployment], live: Live) -> None:
        """What differs and no more: each change of a deployment drops the runs made ahead."""
        changed = self._changed(item, live.value)
        if changed:
            if "work_queue_name" in changed:  # the server takes a queue only with its pool
                changed = {"work_pool_name": live.value.work_pool_name, **changed}
            client.update_deployment(live.id, DeploymentUpdate(**changed))
        steps = schedules.plan(client, live.id, item.value.schedules, live.value.schedules)
        for _, step in steps:
            step()

    def delete(self, client: SyncPrefectClient, name: str, live: Live) -> None:  # noqa: ARG002
        """With the runs that its schedules made ahead; runs that were, stay."""
        client.delete_deployment(live.id)

    def _changed(self, item: Declared[Deployment], live: DeploymentResponse) -> dict[str, Any]:
        return {
            name: value for name, value in self.fields(item).items() if _live(live, name) != value
        }

    def fields(self, item: Declared[Deployment]) -> dict[str, Any]:
        """All that the server is to hold of a deployment, as its API takes it."""
        deployment, flow = item.value, self._flows[item.value.entrypoint]
        limit = deployment.concurrency_limit
        options = None
        if limit and (limit.collision_strategy or limit.grace_period_seconds):
            given = limit.model_dump(exclude={"limit"}, exclude_none=True)
            options = ConcurrencyOptions(
                **{"collision_strategy": ConcurrencyLimitStrategy.ENQUEUE, **given}
            ).model_dump(mode="json", exclude_none=True)
        fields = {
            "version": deployment.version or flow.version,
            "description": deployment.description or flow.description or None,
            "tags": deployment.tags,
            "parameters": deployment.parameters,
            "entrypoint": deployment.entrypoint,
            "path": None,
            "pull_steps": deployment.pull,
            "enforce_parameter_schema": deployment.enforce_parameter_schema,
            "parameter_openapi_schema": self._schemas[deployment.entrypoint],
            "concurrency_limit": limit.limit if limit else None,
            "concurrency_options": options,
            "work_pool_name": deployment.work_pool.name,
            "work_queue_name": deployment.work_pool.work_queue_name or "default",
            "job_variables": deployment.work_pool.job_variables,
        }
        if deployment.paused is not None:  # else it is the business of whoever pauses it in the UI
            fields["paused"] = deployment.paused
        return fields


def _check_parameters(item: Declared[Deployment], schema: dict[str, Any]) -> None:
    known = sorted(schema.get("properties", {}))
    places: list[tuple[dict[str, Any], tuple[str | int, ...]]]
    places = [(item.value.parameters, ("parameters",))]
    places += [
        (schedule.parameters, ("schedules", number, "parameters"))
        for number, schedule in enumerate(item.value.schedules)
    ]
    for parameters, where in places:
        for name, value in parameters.items():
            if name not in known:
                raise item.mistake(
                    f"the flow of deployment {item.value.name!r} takes no parameter {name!r}",
                    *(*where, name),
                    expected=f"one of {', '.join(known)}" if known else "no parameters",
                    found=name,
                )
            # As the server does, which would refuse it half-way through.
            errors = validate({name: value}, schema, ignore_required=True)
            if errors and item.value.enforce_parameter_schema:
                raise item.mistake(
                    f"the flow of deployment {item.value.name!r} does not take this {name!r}",
                    *(*where, name),
                    expected=f"a value of its type ({_type_of(schema['properties'][name])})",
                    found=repr(value),
                )


def _type_of(field: dict[str, Any]) -> str:
    """What the schema asks for, without the value: that may be a secret."""
    if "enum" in field:
        return f"one of {', '.join(map(str, field['enum']))}"
    if "anyOf" in field:
        return " or ".join(_type_of(each) for each in field["anyOf"])
    rules = {k: v for k, v in field.items() if k in RULES}
    return ", ".join(f"{name} {value}" for name, value in rules.items()) or "see the flow"


def _check_slugs(item: Declared[Deployment]) -> None:
    slugs = [schedule.slug for schedule in item.value.schedules]
    for number, slug in enumerate(slugs):
        if slug in slugs[:number]:
            raise item.mistake(
                f"slug {slug!r} is used twice in {item.value.name!r}",
                *("schedules", number, "slug"),
                expected="a slug for each schedule",
                found="two of one name",
            )


def _live(live: DeploymentResponse, name: str) -> Any:
    value = getattr(live, name, None)
    match name:
        case "concurrency_limit":
            limit = live.global_concurrency_limit
            return limit.limit if limit else None
        case "concurrency_options":
            return value.model_dump(mode="json", exclude_none=True) if value else None
        case "description":  # Prefect's client writes the word None where there is none
            return None if value in {"", "None"} else value
        case "pull_steps":
            return value or []
        case _:
            return value
