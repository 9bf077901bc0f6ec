"""Transfers between two stacks in both directions: what is copied, skipped and reported."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests import stack as stacks
from tests.stack import Stack, complete, deployment, get, make, post

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUE = "carried-and-never-printed"
SEED = f"""
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.variables import Variable

Variable.set("colour", "blue")
Secret(value={VALUE!r}).save("token")
with get_client(sync_client=True) as client:
    client.create_work_pool(WorkPoolCreate(name="other", type="process"))
    hello = client.read_deployment_by_name("hello/hello")
    for pool in ("default", "other"):
        client.request("POST", "/deployments/", json={{
            "name": f"on-{{pool}}", "flow_id": str(hello.flow_id), "work_pool_name": pool,
            "entrypoint": hello.entrypoint, "concurrency_limit": 2,
            "schedules": [{{"slug": "daily", "schedule": {{"interval": 86400}}, "active": True}}],
        }})
    new = client.read_deployment_by_name("hello/on-other")
    resource = {{"prefect.resource.id": f"prefect.deployment.{{hello.id}}"}}
    client.create_automation(AutomationCore.model_validate({{
        "name": "again",
        "trigger": {{"type": "event", "posture": "Reactive", "expect": ["x"], "threshold": 1,
                     "within": 0, "match": resource}},
        "actions": [{{"type": "run-deployment", "source": "selected",
                      "deployment_id": str(new.id)}}],
    }}))
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Stack]]:
    """Two running stacks, each with a profile `there` of the other; the first has data to copy."""
    one, two = make(tmp_path_factory, "one"), make(tmp_path_factory, "two")
    with stacks.stack(one), stacks.stack(two):
        for stack in (one, two):
            stack.up()
        for stack, other in ((one, two), (two, one)):
            write_profiles(stack, {"there": other, "wrong": other, "self": stack})
        result = prefect(one, SEED)
        assert result == ""
        with one.client() as client:
            complete(client, "hello/hello")
        yield one, two


def write_profiles(stack: Stack, profiles: dict[str, Stack]) -> None:
    """Write Prefect profiles, by name, for the user of the clone; `wrong` has a wrong login."""
    path = stack.root / ".prefect/profiles.toml"
    path.parent.mkdir(exist_ok=True)
    lines = ['active = "ephemeral"', "[profiles.ephemeral]", "[profiles.nowhere]"]
    for name, other in profiles.items():
        login = login_of(other) + ("x" if name == "wrong" else "")
        lines += [
            f"[profiles.{name}]",
            f'PREFECT_API_URL = "{other.url}/api"',
            f"PREFECT_API_AUTH_STRING = {json.dumps(login)}",
        ]
    path.write_text("\n".join(lines))


def login_of(stack: Stack) -> str:
    """Return the login that `scripts/stack env` prints."""
    script = 'eval "$(scripts/stack env)"; printf "%s" "$PREFECT_API_AUTH_STRING"'
    return stack.run("sh", "-c", script).stdout


def prefect(stack: Stack, script: str) -> str:
    """Run a Python script with Prefect set to the stack; return its standard output."""
    result = stack.run("sh", "-c", 'eval "$(scripts/stack env)"; exec python -c "$0"', script)
    assert result.returncode == 0, stack.said[-1]
    return result.stdout


def transfer(stack: Stack, *arguments: str) -> str:
    """Run a transfer, which must print no secret and leave no file; return what it printed."""
    temporary = stack.root / "tmp"
    temporary.mkdir(exist_ok=True)
    env = {"TMPDIR": str(temporary), "COLUMNS": "200"}
    result = stack.run("scripts/stack", "transfer", *arguments, env=env)
    assert result.returncode == 0, stack.said[-1]
    assert VALUE not in result.stdout + result.stderr
    assert list(temporary.glob("stack-transfer-*")) == []
    return result.stdout


def statuses(said: str) -> dict[str, str]:
    """Return the status of each object from the table that Prefect prints."""
    rows = [line.split("│") for line in said.splitlines() if line.startswith("│ ")]
    return {row[1].strip(): row[2].split()[-1] for row in rows if len(row) == 5}


@pytest.mark.slow  # two stacks, and commands of Prefect between them
def test_there_and_back(pair: tuple[Stack, Stack]) -> None:
    one, two = pair
    with two.client() as client:
        [schedule] = deployment(client)["schedules"]
        path = f"/deployments/{deployment(client)['id']}/schedules/{schedule['id']}"
        client.patch(path, json={"active": False}).raise_for_status()

        said = transfer(one, "--to", "there")
        first = statuses(said)
        assert first["block-document/token"] == "Success"
        assert {first["deployment/on-default"], first["deployment/on-other"]} == {"Success"}
        assert first["deployment/hello"] == "Skipped"

        assert get(client, "/variables/name/colour")["value"] == "blue"
        assert get(client, "/work_pools/other")["type"] == "process"
        there = deployment(client, "hello/on-other")
        assert [schedule["active"] for schedule in there["schedules"]] == [True]
        automations = post(client, "/automations/filter", {})
        [again] = [automation for automation in automations if automation["name"] == "again"]
        assert again["actions"][0]["deployment_id"] == there["id"]
        # What already existed there is unchanged.
        assert [schedule["active"] for schedule in deployment(client)["schedules"]] == [False]
    load = 'from prefect.blocks.system import Secret; print(Secret.load("token").get())'
    assert prefect(two, load).strip() == VALUE

    assert re.search(rf"stays on stack {one.name}: [1-9]\d* flow runs, [1-9]\d* task runs", said)
    assert "limit on there: deployment hello/on-default, hello/on-other" in said
    [both] = re.findall(r"runs on both by schedule: deployment (.*); pause one", said)
    shipped = {"daily/daily", "export/export", "vtasks/vtasks"}
    assert set(both.split(", ")) == shipped | {"hello/on-default", "hello/on-other"}
    assert f"watches by an id of stack {one.name}: automation again" in said
    assert "not on there" not in said

    second = statuses(transfer(one, "--to", "there"))
    carried = {name for name, status in first.items() if status == "Success"}
    assert {name.split("/")[0] for name in carried if second[name] != "Skipped"} <= {
        *("flow", "block-schema"),  # Prefect writes the same again
    }

    prefect(two, 'from prefect.variables import Variable; Variable.set("shape", "round")')
    back = transfer(one, "--from", "there")
    assert statuses(back)["variable/shape"] == "Success"
    assert statuses(back)["block-document/token"] == "Skipped"
    with one.client() as client:
        assert get(client, "/variables/name/shape")["value"] == "round"


@pytest.mark.slow
def test_what_could_not_be_carried_is_named(pair: tuple[Stack, Stack]) -> None:
    """A managed pool works only in Prefect Cloud, and so do the deployments in it."""
    one, _ = pair
    with one.client() as client:
        flow = deployment(client)["flow_id"]
        body = {"name": "cloud", "type": "prefect:managed", "base_job_template": {}}
        post(client, "/work_pools/", body)
        body = {"name": "managed", "flow_id": flow, "work_pool_name": "cloud"}
        post(client, "/deployments/", body)
        try:
            said = transfer(one, "--to", "there")
        finally:
            client.delete("/work_pools/cloud").raise_for_status()
            deployment_id = deployment(client, "hello/managed")["id"]
            client.delete(f"/deployments/{deployment_id}").raise_for_status()
    assert statuses(said)["deployment/managed"] == "Skipped"
    assert "not on there: work pool cloud" in said
    assert "not on there: deployment hello/managed" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "wrong"), "does not let the stack in"),
        (("--from", "wrong"), "correct PREFECT_API_AUTH_STRING in the profile wrong"),
    ],
)
def test_a_wrong_login_is_one_message(
    pair: tuple[Stack, Stack], arguments: tuple[str, ...], message: str
) -> None:
    refused(pair[0], arguments, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "nobody"), "there is no Prefect profile nobody"),
        (("--from", "nowhere"), "the Prefect profile nowhere names no server"),
        (("--to", "self"), "the profile self is of the stack's own server"),
        ((), "transfer goes one way"),
        (("--to", "self", "--from", "self"), "transfer goes one way"),
    ],
)
def test_a_mistake_is_one_message(stack: Stack, arguments: tuple[str, ...], message: str) -> None:
    write_profiles(stack, {"self": stack})
    refused(stack, arguments, message)


def refused(stack: Stack, arguments: tuple[str, ...], message: str) -> None:
    """Run a transfer that has to exit with 2 and one message."""
    result = stack.run("scripts/stack", "transfer", *arguments)
    assert result.returncode == 2, stack.said[-1]
    assert message in result.stderr
    assert result.stderr.count("error: ") == 1
    assert "Traceback" not in result.stderr


def test_a_stack_that_is_down_has_nothing_to_carry(unstarted: Stack) -> None:
    result = unstarted.run("scripts/stack", "transfer", "--to", "there")
    assert result.returncode == 2, unstarted.said[-1]
    assert f"{unstarted.name} is not running" in result.stderr
