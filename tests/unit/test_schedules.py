"""Schedules are matched by their slugs, and one that a person has paused stays paused."""

import datetime as dt
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

from server.bootstrap import schedules
from server.bootstrap.deployment import Schedule
from server.bootstrap.schedules import Step

DEPLOYMENT = uuid4()
ANCHOR = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DAILY = CronSchedule(cron="0 2 * * *", timezone="UTC")


def live_schedule(
    schedule: CronSchedule | IntervalSchedule | RRuleSchedule = DAILY,
    slug: str | None = "nightly",
    *,
    active: bool = True,
    parameters: dict[str, Any] | None = None,
) -> DeploymentSchedule:
    """Return a schedule as the server holds it."""
    return DeploymentSchedule(
        id=uuid4(),
        deployment_id=DEPLOYMENT,
        schedule=schedule,
        slug=slug,
        active=active,
        parameters=parameters or {},
    )


def declare(slug: str = "nightly", **fields: Any) -> Schedule:
    return Schedule(slug=slug, **(fields or {"cron": "0 2 * * *", "timezone": "UTC"}))


def plan(wanted: list[Schedule], live_ones: list[DeploymentSchedule]) -> list[str]:
    """Return the names of the planned steps."""
    return [step.name for step in schedules.plan(wanted, live_ones)]


class TestSame:
    @pytest.mark.parametrize("active", [True, False])
    def test_whether_one_is_active_is_not_asked(self, *, active: bool) -> None:
        assert schedules.same(declare(), live_schedule(active=active))

    def test_no_timezone_is_utc(self) -> None:
        assert schedules.same(declare(cron="0 2 * * *"), live_schedule())

    def test_an_interval_is_anchored_where_the_server_put_it(self) -> None:
        held = live_schedule(IntervalSchedule(interval=dt.timedelta(minutes=5), anchor_date=ANCHOR))
        assert schedules.same(declare(interval=300), held)

    def test_a_declared_anchor_is_compared(self) -> None:
        held = live_schedule(IntervalSchedule(interval=dt.timedelta(minutes=5), anchor_date=ANCHOR))
        assert schedules.same(declare(interval=300, anchor_date=ANCHOR), held)
        later = ANCHOR + dt.timedelta(seconds=1)
        assert not schedules.same(declare(interval=300, anchor_date=later), held)

    def test_a_rule_is_compared(self) -> None:
        held = live_schedule(RRuleSchedule(rrule="FREQ=DAILY", timezone="UTC"))
        assert schedules.same(declare(rrule="FREQ=DAILY"), held)
        assert not schedules.same(declare(rrule="FREQ=WEEKLY"), held)

    @pytest.mark.parametrize(
        "changed",
        [
            {"cron": "0 3 * * *", "timezone": "UTC"},
            {"cron": "0 2 * * *", "timezone": "Europe/Madrid"},
            {"cron": "0 2 * * *", "timezone": "UTC", "day_or": False},
            {"cron": "0 2 * * *", "timezone": "UTC", "parameters": {"env": "pro"}},
            {"interval": 86400},
        ],
        ids=["cron", "timezone", "day_or", "parameters", "kind"],
    )
    def test_a_change_is_seen(self, changed: dict[str, Any]) -> None:
        assert not schedules.same(declare(**changed), live_schedule())

    def test_parameters_that_were_removed_are_seen(self) -> None:
        assert not schedules.same(declare(), live_schedule(parameters={"env": "pro"}))


class TestPlan:
    def test_what_is_the_same_is_left_alone(self) -> None:
        assert plan([declare()], [live_schedule(active=False)]) == []

    def test_a_new_one_is_made_by_itself_as_declared(self) -> None:
        wanted = declare(cron="0 2 * * *", active=False, parameters={"env": "pro"})
        [step] = schedules.plan([wanted], [])
        assert step.name == "schedule nightly is new"
        assert (step.method, step.path) == ("POST", "")
        [sent] = step.body
        assert (sent["slug"], sent["active"], sent["parameters"]) == (
            "nightly",
            False,
            {"env": "pro"},
        )
        assert sent["schedule"]["cron"] == "0 2 * * *"

    @pytest.mark.parametrize("active", [True, False])
    def test_a_changed_one_is_neither_woken_nor_paused(self, *, active: bool) -> None:
        held = live_schedule(active=not active)
        wanted = declare(cron="0 3 * * *", active=active, parameters={"env": "pro"})
        [step] = schedules.plan([wanted], [held])
        assert step.name == "schedule nightly"
        assert (step.method, step.path) == ("PATCH", f"/{held.id}")
        assert set(step.body) == {"schedule", "parameters"}
        assert step.body["schedule"]["cron"] == "0 3 * * *"
        assert step.body["parameters"] == {"env": "pro"}

    def test_one_whose_slug_is_gone_is_deleted(self) -> None:
        held = live_schedule()
        [step] = schedules.plan([], [held])
        assert step == Step("schedule nightly is gone", "DELETE", f"/{held.id}")

    def test_one_without_a_slug_was_made_by_hand_and_is_left_alone(self) -> None:
        assert plan([], [live_schedule(slug=None)]) == []

    def test_one_by_hand_is_not_taken_for_a_declared_one(self) -> None:
        assert plan([declare()], [live_schedule(slug=None)]) == ["schedule nightly is new"]

    def test_one_that_was_renamed_is_made_anew(self) -> None:
        steps = schedules.plan([declare("daily")], [live_schedule()])
        assert [(step.name, step.method) for step in steps] == [
            ("schedule daily is new", "POST"),
            ("schedule nightly is gone", "DELETE"),
        ]

    def test_each_of_several_is_compared_with_its_own(self) -> None:
        hourly = CronSchedule(cron="0 * * * *", timezone="UTC")
        held = [live_schedule(), live_schedule(hourly, "hourly"), live_schedule(slug=None)]
        [step] = schedules.plan([declare("hourly", cron="30 * * * *"), declare()], held)
        assert (step.name, step.path) == ("schedule hourly", f"/{held[1].id}")
