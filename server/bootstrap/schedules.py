"""The schedules of one deployment, told apart by their slugs.

A schedule is never switched on again: `active` counts only when it is made. Sending a deployment's
schedules with the deployment would replace them all, and wake what a person paused (upstream
#14973, #18822), so each is changed by itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.actions import DeploymentScheduleCreate

from server.bootstrap.yaml_file import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import DeploymentSchedule

    from server.bootstrap.deployment import Schedule


def to_create(declared: Schedule) -> DeploymentScheduleCreate:
    """`declared` as the API takes it."""
    return DeploymentScheduleCreate(
        schedule=declared.build(),
        slug=declared.slug,
        active=declared.active,
        parameters=declared.parameters,
    )


def plan(
    client: SyncPrefectClient,
    deployment_id: UUID,
    declared: Sequence[Schedule],
    live: Sequence[DeploymentSchedule],
) -> list[tuple[str, Callable[[], Any]]]:
    """What differs, each with the call that mends it.

    Schedules without a slug were made by hand and are left alone.
    """
    by_slug = {schedule.slug: schedule for schedule in live if schedule.slug}
    steps: list[tuple[str, Callable[[], Any]]] = []
    for schedule in declared:
        found = by_slug.pop(schedule.slug, None)
        if found is None:
            steps.append(
                (f"schedule {schedule.slug} is new", _create(client, deployment_id, schedule))
            )
        elif not same(schedule, found):
            steps.append(
                (f"schedule {schedule.slug}", _update(client, deployment_id, schedule, found))
            )
    steps += [
        (f"schedule {slug} is gone", _delete(client, deployment_id, schedule))
        for slug, schedule in by_slug.items()
    ]
    return steps


def same(declared: Schedule, live: DeploymentSchedule) -> bool:
    """Whether `live` runs when and with what `declared` says; whether it is active is not asked.

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


def _create(
    client: SyncPrefectClient, deployment_id: UUID, schedule: Schedule
) -> Callable[[], Any]:
    return lambda: client.create_deployment_schedules(deployment_id, [to_create(schedule)])


def _update(
    client: SyncPrefectClient, deployment_id: UUID, schedule: Schedule, live: DeploymentSchedule
) -> Callable[[], Any]:
    return lambda: client.update_deployment_schedule(
        deployment_id,
        live.id,
        schedule=schedule.build(),
        parameters=schedule.parameters,
    )


def _delete(
    client: SyncPrefectClient, deployment_id: UUID, live: DeploymentSchedule
) -> Callable[[], Any]:
    return lambda: client.delete_deployment_schedule(deployment_id, live.id)
