"""The schedules of one deployment, identified by their slugs.

A schedule is never switched on again: `active` counts only when it is made. Sending a deployment's
schedules with the deployment would replace them all, and wake what a person paused (upstream
#14973, #18822), so each is changed by itself.
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

    from server.bootstrap.deployment import Schedule


@dataclass(frozen=True)
class Step:
    """One request that brings a live schedule in line with its declaration."""

    name: str  # as the plan shows it
    method: str
    path: str  # below the deployment's schedules
    body: Any = None


def body(declared: Schedule) -> dict[str, Any]:
    """`declared` as the API creates it."""
    return DeploymentScheduleCreate(
        schedule=declared.build(),
        slug=declared.slug,
        active=declared.active,
        parameters=declared.parameters,
    ).model_dump(mode="json")


def plan(declared: Sequence[Schedule], live: Sequence[DeploymentSchedule]) -> list[Step]:
    """The requests for the schedules that differ.

    Schedules without a slug were made by hand and are left alone.
    """
    by_slug = {schedule.slug: schedule for schedule in live if schedule.slug}
    steps: list[Step] = []
    for schedule in declared:
        found = by_slug.pop(schedule.slug, None)
        if found is None:
            steps.append(Step(f"schedule {schedule.slug} is new", "POST", "", [body(schedule)]))
        elif not same(schedule, found):
            changed = {name: body(schedule)[name] for name in ("schedule", "parameters")}
            steps.append(Step(f"schedule {schedule.slug}", "PATCH", f"/{found.id}", changed))
    steps += [
        Step(f"schedule {slug} is gone", "DELETE", f"/{schedule.id}")
        for slug, schedule in by_slug.items()
    ]
    return steps


def same(declared: Schedule, live: DeploymentSchedule) -> bool:
    """Whether `live` has the declared times and parameters; `active` is not compared.

    The anchor of an interval, and the start of a rule, are compared only when they are declared:
    without one, the server keeps the moment at which the schedule was made, and a day of its own.
    """
    built = declared.build()
    if type(built) is not type(live.schedule):
        return False
    fields = set(type(built).model_fields)
    if declared.anchor_date is None:
        fields.discard("anchor_date")
    wanted, found = (
        {name: value or ("UTC" if name == "timezone" else value) for name, value in each.items()}
        for each in (
            built.model_dump(mode="json", include=fields),
            live.schedule.model_dump(mode="json", include=fields),
        )
    )
    if "DTSTART" not in wanted.get("rrule", ""):
        found = {name: _without_start(value) for name, value in found.items()}
    return wanted == found and plain(declared.parameters) == live.parameters


def _without_start(value: Any) -> Any:
    return re.sub(r"^DTSTART\S*\n", "", value) if isinstance(value, str) else value
