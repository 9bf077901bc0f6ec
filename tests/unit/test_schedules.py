"""Schedules are told apart by their slugs, and one that a person paused is never woken."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.settings import PREFECT_CLIENT_CSRF_SUPPORT_ENABLED, temporary_settings

from server.bootstrap import schedules
from server.bootstrap.deployment import Schedule

DEPLOYMENT = uuid4()
ANCHOR = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DAILY = CronSchedule(cron="0 2 * * *", timezone="UTC")

Request = tuple[str, str, Any]  # method, path below the API, body


class Api:
    """A real client whose requests go no further than this list."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        transport = httpx.MockTransport(self._answer)
        self.client = SyncPrefectClient(
            "http://nowhere/api", httpx_settings={"transport": transport}
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        self.requests.append((request.method, request.url.path, body))
        return httpx.Response(201, json=[]) if request.method == "POST" else httpx.Response(204)


@pytest.fixture
def api() -> Iterator[Api]:
    with temporary_settings({PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}):
        api = Api()
        with api.client:
            yield api


def live(
    schedule: CronSchedule | IntervalSchedule | RRuleSchedule = DAILY,
    slug: str | None = "nightly",
    *,
    active: bool = True,
    parameters: dict[str, Any] | None = None,
) -> DeploymentSchedule:
    """A schedule as the server holds it."""
    return DeploymentSchedule(
        id=uuid4(),
        deployment_id=DEPLOYMENT,
        schedule=schedule,
        slug=slug,
        active=active,
        parameters=parameters or {},
    )


def declared(slug: str = "nightly", **fields: Any) -> Schedule:
    return Schedule(slug=slug, **(fields or {"cron": "0 2 * * *", "timezone": "UTC"}))


def carry_out(api: Api, wanted: list[Schedule], found: list[DeploymentSchedule]) -> list[str]:
    """What the plan says, after all that it says was done."""
    steps = schedules.plan(api.client, DEPLOYMENT, wanted, found)
    assert api.requests == [], "planning writes nothing"
    for _, call in steps:
        call()
    return [name for name, _ in steps]


def path(schedule: UUID | None = None) -> str:
    return f"/api/deployments/{DEPLOYMENT}/schedules" + (f"/{schedule}" if schedule else "")


class TestSame:
    @pytest.mark.parametrize("active", [True, False])
    def test_whether_one_is_active_is_not_asked(self, *, active: bool) -> None:
        assert schedules.same(declared(), live(active=active))

    def test_no_timezone_is_utc(self) -> None:
        assert schedules.same(declared(cron="0 2 * * *"), live())

    def test_an_interval_is_anchored_where_the_server_put_it(self) -> None:
        found = live(IntervalSchedule(interval=dt.timedelta(minutes=5), anchor_date=ANCHOR))
        assert schedules.same(declared(interval=300), found)

    def test_a_declared_anchor_is_compared(self) -> None:
        found = live(IntervalSchedule(interval=dt.timedelta(minutes=5), anchor_date=ANCHOR))
        assert schedules.same(declared(interval=300, anchor_date=ANCHOR), found)
        later = ANCHOR + dt.timedelta(seconds=1)
        assert not schedules.same(declared(interval=300, anchor_date=later), found)

    def test_a_rule_is_compared(self) -> None:
        found = live(RRuleSchedule(rrule="FREQ=DAILY", timezone="UTC"))
        assert schedules.same(declared(rrule="FREQ=DAILY"), found)
        assert not schedules.same(declared(rrule="FREQ=WEEKLY"), found)

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
        assert not schedules.same(declared(**changed), live())

    def test_parameters_that_were_removed_are_seen(self) -> None:
        assert not schedules.same(declared(), live(parameters={"env": "pro"}))


class TestPlan:
    def test_what_is_the_same_is_left_alone(self, api: Api) -> None:
        assert carry_out(api, [declared()], [live(active=False)]) == []
        assert api.requests == []

    def test_a_new_one_is_made_by_itself_as_declared(self, api: Api) -> None:
        wanted = declared(cron="0 2 * * *", active=False, parameters={"env": "pro"})
        assert carry_out(api, [wanted], []) == ["schedule nightly is new"]
        [(method, where, [sent])] = api.requests
        assert (method, where) == ("POST", path())
        assert (sent["slug"], sent["active"], sent["parameters"]) == (
            "nightly",
            False,
            {"env": "pro"},
        )
        assert sent["schedule"]["cron"] == "0 2 * * *"

    @pytest.mark.parametrize("active", [True, False])
    def test_a_changed_one_is_neither_woken_nor_paused(self, api: Api, *, active: bool) -> None:
        found = live(active=not active)
        wanted = declared(cron="0 3 * * *", active=active, parameters={"env": "pro"})
        assert carry_out(api, [wanted], [found]) == ["schedule nightly"]
        [(method, where, sent)] = api.requests
        assert (method, where) == ("PATCH", path(found.id))
        assert set(sent) == {"schedule", "parameters"}
        assert sent["schedule"]["cron"] == "0 3 * * *"
        assert sent["parameters"] == {"env": "pro"}

    def test_one_whose_slug_is_gone_is_deleted(self, api: Api) -> None:
        found = live()
        assert carry_out(api, [], [found]) == ["schedule nightly is gone"]
        assert api.requests == [("DELETE", path(found.id), None)]

    def test_one_without_a_slug_was_made_by_hand_and_is_left_alone(self, api: Api) -> None:
        assert carry_out(api, [], [live(slug=None)]) == []

    def test_one_by_hand_is_not_taken_for_a_declared_one(self, api: Api) -> None:
        assert carry_out(api, [declared()], [live(slug=None)]) == ["schedule nightly is new"]

    def test_one_that_was_renamed_is_made_anew(self, api: Api) -> None:
        assert carry_out(api, [declared("daily")], [live()]) == [
            "schedule daily is new",
            "schedule nightly is gone",
        ]
        assert [method for method, *_ in api.requests] == ["POST", "DELETE"]

    def test_each_of_several_is_compared_with_its_own(self, api: Api) -> None:
        hourly = CronSchedule(cron="0 * * * *", timezone="UTC")
        found = [live(), live(hourly, "hourly"), live(slug=None)]
        wanted = [declared("hourly", cron="30 * * * *"), declared()]
        assert carry_out(api, wanted, found) == ["schedule hourly"]
        assert [where for _, where, _ in api.requests] == [path(found[1].id)]
