"""Plans the changes of a deployment's schedules, which are identified by their slugs.

`active` applies only when a schedule is created, so that a schedule that a person paused stays
paused. Sending the schedules together with the deployment would replace them all and reactivate
paused ones (upstream #14973, #18822), so each schedule is changed by a separate request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.actions import DeploymentScheduleCreate

from server.bootstrap.yaml_file import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.client.schemas.objects import DeploymentSchedule
    from pydantic import BaseModel

    from server.bootstrap.deployment import Schedule


@dataclass(frozen=True)
class Step:
    """One request that makes a schedule on the server match its declaration."""

    name: str  # shown in the plan
    method: str
    path: str  # relative to the deployment's schedules
    body: Any = None


def body(declared: Schedule) -> dict[str, Any]:
    """The body with which the API creates the schedule."""
    return DeploymentScheduleCreate(
        schedule=declared.build(),
        slug=declared.slug,
        active=declared.active,
        parameters=declared.parameters,
    ).model_dump(mode="json")


def plan(declared: Sequence[Schedule], live: Sequence[DeploymentSchedule]) -> list[Step]:
    """The requests for the schedules that differ from their declarations.

    Schedules without a slug were created by hand and are left alone.
    """
    by_slug = {schedule.slug: schedule for schedule in live if schedule.slug}
    steps: list[Step] = []
    for schedule in declared:
        existing = by_slug.pop(schedule.slug, None)
        if existing is None:
            steps.append(Step(f"schedule {schedule.slug} is new", "POST", "", [body(schedule)]))
        elif not same(schedule, existing):
            changed = {name: body(schedule)[name] for name in ("schedule", "parameters")}
            steps.append(Step(f"schedule {schedule.slug}", "PATCH", f"/{existing.id}", changed))
    steps += [
        Step(f"schedule {slug} is gone", "DELETE", f"/{schedule.id}")
        for slug, schedule in by_slug.items()
    ]
    return steps


def same(declared: Schedule, live: DeploymentSchedule) -> bool:
    """Whether `live` has the declared times and parameters; `active` is not compared.

    The anchor of an interval and the start of an RRule are compared only if they are declared: the
    server sets a missing anchor to the time of creation, and a missing start to a day of its own.
    """
    built = declared.build()
    if type(built) is not type(live.schedule):
        return False
    fields = set(type(built).model_fields)
    if declared.anchor_date is None:
        fields.discard("anchor_date")
    declared_fields, live_fields = _dump(built, fields), _dump(live.schedule, fields)
    if "DTSTART" not in declared_fields.get("rrule", ""):
        live_fields = {name: _without_start(value) for name, value in live_fields.items()}
    return declared_fields == live_fields and plain(declared.parameters) == live.parameters


def _dump(schedule: BaseModel, fields: set[str]) -> dict[str, Any]:
    """These fields of a schedule as JSON; a missing time zone means UTC."""
    values = schedule.model_dump(mode="json", include=fields)
    return {n: value or ("UTC" if n == "timezone" else value) for n, value in values.items()}


def _without_start(value: Any) -> Any:
    return re.sub(r"^DTSTART\S*\n", "", value) if isinstance(value, str) else value
