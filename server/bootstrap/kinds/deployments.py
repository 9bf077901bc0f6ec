"""Deployments: flows that can be run and scheduled, declared in Prefect's own file and format."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse

from server.api import pagination
from server.bootstrap import api, checks, dates, flows, job_variables, schedules
from server.bootstrap.deployment import Deployment
from server.bootstrap.flows import LoadedFlow
from server.bootstrap.kind import Kind
from server.bootstrap.resource import Declared, Difference, Live, Need

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from server.bootstrap.resource import Location
    from server.bootstrap.world import World


class Deployments(Kind[Deployment]):
    """The section `deployments` of `prefect.yaml`."""

    name = "deployment"
    section = "deployments"
    order = 40
    model = Deployment
    path = "/deployments"
    file = "prefect.yaml"

    exact = False  # the first half of the name is the flow's, which `label` does not know yet

    def __init__(self, world: World, client: api.Client) -> None:
        super().__init__(world, client)
        self._flows: dict[Location, LoadedFlow] = {}  # by the locations of their deployments

    def find(self, content: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
        """All deployments; those without pull steps of their own get the ones of the file."""
        for where, raw in super().find(content):
            common = {"pull": content.get("pull") or []}
            yield where, {**common, **raw} if isinstance(raw, dict) else raw

    def label(self, value: Any) -> str:
        """A provisional name, until the flow is loaded."""
        return f"{value.entrypoint}/{value.name}"

    def check(self, items: Sequence[Declared[Deployment]]) -> Sequence[Declared[Deployment]]:
        """Load the flows, check parameters and schedules, and return items with full names."""
        loaded = flows.load_all(
            self.world.root,
            {
                item.where: flows.FlowToLoad(item.value.entrypoint, self._env(item))
                for item in items
            },
            self.world.common,
        )
        verdicts = iter(
            dates.check([schedule for item in items for schedule in item.value.schedules])
        )
        valid: list[Declared[Deployment]] = []
        for item in items:
            verdicts_of_item = [next(verdicts) for _ in item.value.schedules]
            flow = loaded[item.where]
            name = f"{flow.name}/{item.value.name}" if isinstance(flow, LoadedFlow) else item.name
            exact = isinstance(flow, LoadedFlow)
            with self.world.skip_on_mistake(self.name, name, item.place, exact=exact):
                if not isinstance(flow, LoadedFlow):
                    raise item.mistake(
                        f"deployment {item.value.name!r} {flow.what}",
                        "entrypoint",
                        expected=flow.expected,
                        found=flow.found,
                        do=flow.do,
                    )
                renamed = replace(item, name=name)
                self._flows[item.where] = flow
                checks.check_slugs(renamed)
                checks.check_parameters(renamed, flow.parameters)
                checks.check_dates(renamed, verdicts_of_item, self.world)
                valid.append(renamed)
        return valid

    def needs(self, item: Declared[Deployment]) -> Iterator[Need]:
        """The work pool for the runs of the deployment."""
        yield Need("work pool", item.value.work_pool.name, ("work_pool", "name"))

    def still_active(self, live: Live) -> str | None:
        """How many schedules still create runs; None if no schedule does."""
        active = sum(schedule.active for schedule in live.value.schedules)
        if not active or live.value.paused:
            return None
        return f"{active} schedule{'s' if active > 1 else ''} still active"

    def every(self) -> Iterator[tuple[str, Live]]:
        """All deployments with their full names, FLOW/DEPLOYMENT."""
        ask = api.asking(self.client)
        names = pagination.flows(ask)
        for raw in pagination.deployments(ask, list(names)):
            deployment = DeploymentResponse.model_validate(raw)
            flow_name = names[str(deployment.flow_id)]
            yield f"{flow_name}/{deployment.name}", Live(deployment.id, deployment)

    def compare(self, item: Declared[Deployment], live: Live | None) -> Difference:
        """Compare the fields one by one, and the schedules by their slugs."""
        self._check_job_variables(item)
        fields = self.fields(item)
        if live is None:
            body = {name: value for name, value in fields.items() if value is not None}
            created = [schedules.body(schedule) for schedule in item.value.schedules]
            return Difference({"name": item.value.name, **body, "schedules": created})
        changed = {n: value for n, value in fields.items() if _live(live.value, n) != value}
        steps = schedules.plan(item.value.schedules, live.value.schedules)
        names = (*changed, *(step.name for step in steps))
        # Pool and queue are always sent together: the server accepts a queue only with its pool,
        # moves a deployment with a new pool to the queue `default`, and keeps the name of the queue
        # when somebody deletes the pool by hand.
        if changed.keys() & {"work_pool_name", "work_queue_name"}:
            changed |= {name: fields[name] for name in ("work_pool_name", "work_queue_name")}
        return Difference({"fields": changed, "schedules": [vars(step) for step in steps]}, names)

    def create(self, item: Declared[Deployment], payload: Any) -> UUID:
        """Create the deployment with its schedules, and its flow if the server does not know it."""
        flow = self.client.call("POST", "/flows/", {"name": self._flows[item.where].name})
        body = {**payload, "flow_id": flow["id"]}
        return UUID(self.client.call("POST", f"{self.path}/", body)["id"])

    def update(self, live: Live, payload: Any) -> None:
        """Send only what differs, because a change of a deployment deletes its scheduled runs."""
        path = f"{self.path}/{live.id}"
        if payload["fields"]:
            self.client.call("PATCH", path, payload["fields"])
        for step in payload["schedules"]:
            self.client.call(step["method"], f"{path}/schedules{step['path']}", step["body"])

    def _check_job_variables(self, item: Declared[Deployment]) -> None:
        pool = item.value.work_pool
        template = self.world.templates.get(pool.name, {})
        if error := job_variables.first_error(template, pool.job_variables):
            where, expected, value = error
            raise item.mistake(
                f"the work pool {pool.name!r} does not take this {'.'.join(map(str, where))!r} "
                f"of deployment {item.value.name!r}",
                *("work_pool", "job_variables", *where),
                expected=expected,
                found=type(value).__name__ if isinstance(value, dict | list) else repr(value),
            )

    def _env(self, item: Declared[Deployment]) -> dict[str, str]:
        """The environment that pool and deployment declare; adds notes about empty variables."""
        pool = item.value.work_pool
        template = job_variables.of_template(self.world.templates.get(pool.name, {}))
        own = job_variables.environment(pool.job_variables)
        for note in job_variables.empty_references(own):
            self.world.note(item, note, *("work_pool", "job_variables"))
        return {**job_variables.environment(template), **own}

    def fields(self, item: Declared[Deployment]) -> dict[str, Any]:
        """All fields of a deployment except its schedules, as the API expects them."""
        deployment, flow = item.value, self._flows[item.where]
        limit = deployment.concurrency_limit
        options = None
        if limit and (limit.collision_strategy or limit.grace_period_seconds):
            declared_options = limit.model_dump(exclude={"limit"}, exclude_none=True)
            options = ConcurrencyOptions(
                **{"collision_strategy": ConcurrencyLimitStrategy.ENQUEUE, **declared_options}
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
        if deployment.paused is not None:  # otherwise people pause it in the UI
            fields["paused"] = deployment.paused
        return fields


def _live(live: DeploymentResponse, name: str) -> Any:
    value = vars(live).get(name)  # getattr would warn about fields that Prefect has deprecated
    match name:
        case "concurrency_limit":
            limit = live.global_concurrency_limit
            return limit.limit if limit else None
        case "concurrency_options":
            return value.model_dump(mode="json", exclude_none=True) if value else None
        case "description":  # Prefect's client sends the string "None" if there is none
            return None if value in {"", "None"} else value
        case "pull_steps":
            return value or []
        case _:
            return value
