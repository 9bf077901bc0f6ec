"""What is planned is what is sent: only the ids of what the same run creates are filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from server.bootstrap import declarations
from server.bootstrap.kinds.automations import Automations
from server.bootstrap.kinds.blocks import Blocks
from server.bootstrap.kinds.deployments import Deployments
from server.bootstrap.kinds.variables import Variables
from server.bootstrap.kinds.work_pools import WorkPools
from server.bootstrap.ownership import Record
from server.bootstrap.planner import Planner
from server.bootstrap.world import World
from tests.unit.writing import GIVEN

if TYPE_CHECKING:
    from pathlib import Path

    from server.bootstrap.change import Change
    from server.bootstrap.kind import Kind

DEPLOYMENT_ID, FLOW_ID = str(UUID(int=1)), str(UUID(int=2))
KINDS = (Automations, Blocks, Deployments, Variables, WorkPools)
STACK = """\
blocks:
  - {type: secret, name: inner, data: {value: "{{ $TOKEN }}"}}
work_pools:
  - {name: default, type: process}
automations:
  - name: alert
    trigger: {type: event, posture: Reactive, expect: [prefect.flow-run.Failed], threshold: 1}
    actions:
      - {type: send-notification, block: secret/inner, subject: a, body: b}
      - {type: run-deployment, source: selected, deployment: hello/first}
"""
DEPLOYMENTS = """\
deployments:
  - name: first
    entrypoint: flows/hello.py:hello
    tags: [new]
    schedules: [{slug: nightly, cron: "0 3 * * *", timezone: UTC}]
    work_pool: {name: default}
"""
SCHEDULE = {
    "id": str(uuid4()),
    "deployment_id": DEPLOYMENT_ID,
    "schedule": {"cron": "0 2 * * *", "timezone": "UTC"},
    "slug": "nightly",
    "active": False,
    "parameters": {},
}
LIVE_DEPLOYMENT = {
    "id": DEPLOYMENT_ID,
    "name": "first",
    "flow_id": FLOW_ID,
    "schedules": [SCHEDULE],
    "tags": ["old"],
}
Request = tuple[str, str, Any]


class Server:
    """Answers like a server that holds `objects`, by the section of the path; keeps requests."""

    def __init__(self, **objects: list[dict[str, Any]]) -> None:
        self.objects = objects
        self.requests: list[Request] = []
        self.created: dict[str, str] = {}  # ids by path

    def call(self, method: str, path: str, body: Any = None) -> Any:
        self.requests.append((method, path, body))
        section = path.split("/")[1]
        if path == "/block_types/slug/secret":
            return {"id": "type", "slug": "secret"}
        if path == "/block_schemas/filter":
            return [
                {"id": "schema", "block_type_id": "type", "fields": {"properties": {"value": {}}}}
            ]
        if path.endswith("/filter"):
            return self.objects.get(section, [])
        if method == "POST":
            return {"id": self.created.setdefault(section, str(uuid4()))}
        return None

    def writes(self) -> list[Request]:
        return [each for each in self.requests if not (each[0] == "GET" or "/filter" in each[1])]


class OwnRecord(Record):
    """A record of a stack that owns nothing yet; it is not saved."""

    def __init__(self) -> None:
        self._saved = self._now = {}

    def _save(self) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with one deployment, whose flow is there."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/hello.py").write_text("from prefect import flow\n@flow\ndef hello(): ...\n")
    (tmp_path / "prefect.yaml").write_text(DEPLOYMENTS)
    (tmp_path / "stack.yaml").write_text(STACK)
    return tmp_path


def plan(folder: Path, server: Server) -> tuple[Planner, list[Change]]:
    world = World(folder)
    kinds: list[Kind[Any]] = sorted((kind(world, server) for kind in KINDS), key=lambda k: k.order)
    wanted = declarations.read(world, kinds, GIVEN)
    assert world.problems == []
    planner = Planner(world, kinds, OwnRecord())
    return planner, planner.plan(wanted, prune=False)


def body(requests: list[Request], method: str, path: str) -> Any:
    [content] = [sent for *where, sent in requests if where == [method, path]]
    return content


def test_planning_writes_nothing(folder: Path) -> None:
    server = Server()
    _, changes = plan(folder, server)
    assert {each.action for each in changes} == {"create"}
    assert server.writes() == []


def test_applying_reads_nothing_again(folder: Path) -> None:
    server = Server()
    planner, changes = plan(folder, server)
    server.requests.clear()
    planner.apply(changes, lambda _: None)
    assert server.requests == server.writes()


def test_a_file_that_changes_after_the_plan_does_not_change_what_is_applied(folder: Path) -> None:
    server = Server()
    planner, changes = plan(folder, server)
    for name in ("prefect.yaml", "stack.yaml", "flows/hello.py"):
        (folder / name).write_text("")
    planner.apply(changes, lambda _: None)
    sent = body(server.requests, "POST", "/deployments/")
    assert (sent["name"], sent["tags"], sent["flow_id"]) == (
        "first",
        ["new"],
        server.created["flows"],
    )
    assert body(server.requests, "POST", "/block_documents/")["data"] == {"value": GIVEN["TOKEN"]}


def test_what_is_created_in_the_same_run_is_referred_to_by_its_id(folder: Path) -> None:
    server = Server()
    planner, changes = plan(folder, server)
    planner.apply(changes, lambda _: None)
    notify, run = body(server.requests, "POST", "/automations/")["actions"]
    assert notify["block_document_id"] == server.created["block_documents"]
    assert run["deployment_id"] == server.created["deployments"]


def test_an_update_sends_the_fields_that_the_plan_names_and_no_others(folder: Path) -> None:
    server = Server(flows=[{"id": FLOW_ID, "name": "hello"}], deployments=[LIVE_DEPLOYMENT])
    planner, changes = plan(folder, server)
    [change] = [each for each in changes if each.kind == "deployment"]
    planner.apply(changes, lambda _: None)
    sent = body(server.requests, "PATCH", f"/deployments/{DEPLOYMENT_ID}")
    assert sent["tags"] == ["new"]
    assert change.details == (*(n for n in change.details if n in sent), "schedule nightly")
    path = f"/deployments/{DEPLOYMENT_ID}/schedules/{SCHEDULE['id']}"
    schedule = body(server.requests, "PATCH", path)
    assert set(schedule) == {"schedule", "parameters"}, "a schedule that was paused stays paused"
    assert schedule["schedule"]["cron"] == "0 3 * * *"
