"""Deployments: the flows that can be run and scheduled, in Prefect's own file and format."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse

from server.api import pagination
from server.bootstrap import api, checks, dates, flows, job_variables, schedules
from server.bootstrap.deployment import Deployment
from server.bootstrap.flows import LoadedFlow
from server.bootstrap.kind import Declared, Kind, Live, Need

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

    from server.bootstrap.kind import Location, World


class Deployments(Kind[Deployment]):
    """The section `deployments`, of `prefect.yaml`."""

    name = "deployment"
    section = "deployments"
    order = 40
    model = Deployment
    file = "prefect.yaml"

    exact = False  # until the flow is loaded, which has the first half of the name

    def __init__(self, world: World) -> None:
        """Remember the flows that were loaded, by where their deployments stand."""
        super().__init__(world)
        self._flows: dict[Location, LoadedFlow] = {}

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
        loaded = flows.load_all(
            self.world.root,
            {item.where: flows.Wanted(item.value.entrypoint, self._env(item)) for item in items},
            self.world.common,
        )
        verdicts = iter(dates.check([each for item in items for each in item.value.schedules]))
        right: list[Declared[Deployment]] = []
        for item in items:
            of_item = [next(verdicts) for _ in item.value.schedules]
            flow = loaded[item.where]
            name = f"{flow.name}/{item.value.name}" if isinstance(flow, LoadedFlow) else item.name
            exact = isinstance(flow, LoadedFlow)
            with self.world.sparing(self.name, name, item.place, exact=exact):
                if not isinstance(flow, LoadedFlow):
                    raise item.mistake(
                        f"deployment {item.value.name!r} {flow.what}",
                        "entrypoint",
                        expected=flow.expected,
                        found=flow.found,
                        do=flow.do,
                    )
                named = replace(item, name=name)
                self._flows[item.where] = flow
                checks.check_slugs(named)
                checks.check_parameters(named, flow.parameters)
                checks.check_dates(named, of_item, self.world)
                right.append(named)
        return right

    def needs(self, item: Declared[Deployment]) -> Iterator[Need]:
        """Its work pool."""
        yield Need("work pool", item.value.work_pool.name, ("work_pool", "name"))

    def goes_on(self, live: Live) -> str | None:
        """The schedules that still make runs of it."""
        active = sum(each.active for each in live.value.schedules)
        if not active or live.value.paused:
            return None
        return f"{active} schedule{'s' if active > 1 else ''} still active"

    def read(
        self,
        client: SyncPrefectClient,
        items: Sequence[Declared[Deployment]],  # noqa: ARG002
    ) -> dict[str, Live]:
        """By full name."""
        ask = api.asking(client)
        names = pagination.flows(ask)
        raw = pagination.deployments(ask, list(names))
        found = map(DeploymentResponse.model_validate, raw)
        return {f"{names[str(each.flow_id)]}/{each.name}": Live(each.id, each) for each in found}

    def compare(
        self,
        client: SyncPrefectClient,
        item: Declared[Deployment],
        live: Live | None,
    ) -> list[str]:
        """The fields, and the schedules by their slugs."""
        pool = item.value.work_pool
        refused = job_variables.refused(self.world.templates.get(pool.name, {}), pool.job_variables)
        if refused:
            where, expected, found = refused
            raise item.mistake(
                f"the work pool {pool.name!r} does not take this {'.'.join(map(str, where))!r} "
                f"of deployment {item.value.name!r}",
                *("work_pool", "job_variables", *where),
                expected=expected,
                found=type(found).__name__ if isinstance(found, dict | list) else repr(found),
            )
        if live is None:
            return []
        steps = schedules.plan(client, live.id, item.value.schedules, live.value.schedules)
        return [*self._changed(item, live.value), *(name for name, _ in steps)]

    def create(self, client: SyncPrefectClient, item: Declared[Deployment]) -> UUID:
        """With its schedules, and its flow where that is new."""
        flow = self._flows[item.where]
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
            # The server takes a queue only with its pool, and puts what has a new pool into the
            # queue `default`: the name of a queue stays when its pool is deleted by hand.
            if changed.keys() & {"work_pool_name", "work_queue_name"}:
                pool = item.value.work_pool
                changed["work_pool_name"] = pool.name
                changed["work_queue_name"] = pool.work_queue_name or "default"
            client.update_deployment(live.id, DeploymentUpdate(**changed))
        steps = schedules.plan(client, live.id, item.value.schedules, live.value.schedules)
        for _, step in steps:
            step()

    def delete(self, client: SyncPrefectClient, name: str, live: Live) -> None:  # noqa: ARG002
        """With the runs that its schedules made ahead; runs that were, stay."""
        client.delete_deployment(live.id)

    def _env(self, item: Declared[Deployment]) -> dict[str, str]:
        """The environment that pool and deployment declare; says what of it will be empty."""
        pool = item.value.work_pool
        template = job_variables.of_template(self.world.templates.get(pool.name, {}))
        own = job_variables.environment(pool.job_variables)
        for said in job_variables.empty_references(own):
            self.world.note(item, said, *("work_pool", "job_variables"))
        return {**job_variables.environment(template), **own}

    def _changed(self, item: Declared[Deployment], live: DeploymentResponse) -> dict[str, Any]:
        return {
            name: value for name, value in self.fields(item).items() if _live(live, name) != value
        }

    def fields(self, item: Declared[Deployment]) -> dict[str, Any]:
        """All that the server is to hold of a deployment, as its API takes it."""
        deployment, flow = item.value, self._flows[item.where]
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
            "pull_steps": deployment.pull,
            "enforce_parameter_schema": deployment.enforce_parameter_schema,
            "parameter_openapi_schema": flow.parameters,
            "concurrency_limit": limit.limit if limit else None,
            "concurrency_options": options,
            "work_pool_name": deployment.work_pool.name,
            "work_queue_name": deployment.work_pool.work_queue_name or "default",
            "job_variables": deployment.work_pool.job_variables,
        }
        if deployment.paused is not None:  # else it is the business of whoever pauses it in the UI
            fields["paused"] = deployment.paused
        return fields


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
