"""The deployments of `prefect.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.exceptions import ObjectNotFound
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from server.bootstrap import flows, schedules
from server.bootstrap.change import Change
from server.place import WORK_POOL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.flows import Flow

    from server.bootstrap.declared import Deployment, PrefectFile
    from server.bootstrap.yaml_file import YamlFile

KIND = "deployment"


@dataclass(frozen=True)
class Checked:
    """A declared deployment whose flow was loaded: all that the server is to hold of it."""

    declared: Deployment
    flow_name: str
    fields: dict[str, Any]  # as DeploymentUpdate takes them

    @property
    def full_name(self) -> str:
        """The name that Prefect shows."""
        return f"{self.flow_name}/{self.declared.name}"


def check(root: Path, declared: PrefectFile, file: YamlFile) -> list[Checked]:
    """Load every flow and check every deployment against it, before anything is written.

    Raises:
        MistakeError: naming file and line.
    """
    checked = []
    for index, deployment in enumerate(declared.deployments):
        flow = flows.load(root, deployment, file, index)
        schema = parameter_schema(flow).model_dump(exclude_unset=True)
        _check_pool(deployment, file, index)
        _check_parameters(deployment, schema, file, index)
        pull = declared.pull if deployment.pull is None else deployment.pull
        checked.append(Checked(deployment, flow.name, _fields(deployment, flow, schema, pull)))
    return checked


def plan(client: SyncPrefectClient, checked: list[Checked]) -> list[Change]:
    """What makes the server hold every deployment of `checked`."""
    return [_plan(client, deployment) for deployment in checked]


def _check_parameters(
    deployment: Deployment, schema: dict[str, Any], file: YamlFile, index: int
) -> None:
    known = sorted(schema.get("properties", {}))
    places: list[tuple[dict[str, Any], tuple[str | int, ...]]]
    places = [(deployment.parameters, ("deployments", index, "parameters"))]
    places += [
        (schedule.parameters, ("deployments", index, "schedules", number, "parameters"))
        for number, schedule in enumerate(deployment.schedules)
    ]
    for parameters, where in places:
        for name, value in parameters.items():
            if name not in known:
                raise file.mistake(
                    (*where, name),
                    f"the flow of deployment {deployment.name!r} takes no parameter {name!r}",
                    expected=f"one of {', '.join(known)}" if known else "no parameters",
                    found=name,
                )
            # As the server does, which would refuse it half-way through.
            errors = validate({name: value}, schema, ignore_required=True)
            if errors and deployment.enforce_parameter_schema:
                raise file.mistake(
                    (*where, name),
                    f"the flow of deployment {deployment.name!r} does not take this {name!r}",
                    expected=f"a value of its type ({errors[0].message})",
                    found=repr(value),
                )


def _check_pool(deployment: Deployment, file: YamlFile, index: int) -> None:
    if deployment.work_pool.name != WORK_POOL:
        raise file.mistake(
            ("deployments", index, "work_pool", "name"),
            f"deployment {deployment.name!r} names a work pool that the stack does not have",
            expected=WORK_POOL,
            found=deployment.work_pool.name,
        )


def _fields(
    deployment: Deployment, flow: Flow[..., Any], schema: dict[str, Any], pull: list[dict[str, Any]]
) -> dict[str, Any]:
    limit = deployment.concurrency_limit
    options = None
    if limit and (limit.collision_strategy or limit.grace_period_seconds):
        given = limit.model_dump(exclude={"limit"}, exclude_none=True)
        options = ConcurrencyOptions(
            **{"collision_strategy": ConcurrencyLimitStrategy.ENQUEUE, **given}
        ).model_dump(mode="json", exclude_none=True)
    fields = {
        "version": deployment.version or flow.version,
        "description": deployment.description or flow.description,
        "tags": deployment.tags,
        "parameters": deployment.parameters,
        "entrypoint": deployment.entrypoint,
        "path": None,
        "pull_steps": pull,
        "enforce_parameter_schema": deployment.enforce_parameter_schema,
        "parameter_openapi_schema": schema,
        "concurrency_limit": limit.limit if limit else None,
        "concurrency_options": options,
        "work_pool_name": deployment.work_pool.name,
        "work_queue_name": deployment.work_pool.work_queue_name or "default",
        "job_variables": deployment.work_pool.job_variables,
    }
    if deployment.paused is not None:  # else it is the business of whoever pauses it in the UI
        fields["paused"] = deployment.paused
    return fields


def _plan(client: SyncPrefectClient, deployment: Checked) -> Change:
    try:
        live = client.read_deployment_by_name(deployment.full_name)
    except ObjectNotFound:
        return Change(
            "create", KIND, deployment.full_name, apply=lambda: _create(client, deployment)
        )
    changed = {
        name: value for name, value in deployment.fields.items() if _live(live, name) != value
    }
    steps = schedules.plan(client, live.id, deployment.declared.schedules, live.schedules)
    if not changed and not steps:
        return Change("unchanged", KIND, deployment.full_name)
    return Change(
        "update",
        KIND,
        deployment.full_name,
        details=(*changed, *(name for name, _ in steps)),
        apply=lambda: _update(client, live, changed, [call for _, call in steps]),
    )


def _live(live: DeploymentResponse, name: str) -> Any:
    value = getattr(live, name, None)
    match name:
        case "concurrency_limit":
            limit = live.global_concurrency_limit
            return limit.limit if limit else None
        case "concurrency_options":
            return value.model_dump(mode="json", exclude_none=True) if value else None
        case "pull_steps":
            return value or []
        case _:
            return value


def _create(client: SyncPrefectClient, deployment: Checked) -> None:
    client.create_deployment(
        flow_id=client.create_flow_from_name(deployment.flow_name),
        name=deployment.declared.name,
        schedules=[schedules.to_create(schedule) for schedule in deployment.declared.schedules],
        **deployment.fields,
    )


def _update(
    client: SyncPrefectClient,
    live: DeploymentResponse,
    changed: dict[str, Any],
    steps: list[Callable[[], Any]],
) -> None:
    if changed:
        if "work_queue_name" in changed:  # the server takes a queue only with its pool
            changed = {**changed, "work_pool_name": live.work_pool_name, **changed}
        client.update_deployment(live.id, DeploymentUpdate(**changed))
    for step in steps:
        step()
