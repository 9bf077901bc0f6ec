"""What holds for a running stack on either backend; each folder has its own fixture `stack`."""

from __future__ import annotations

import base64
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import httpx
import pytest

from tests import stack as stacks
from tests.stack import NASTY, Stack, complete, deployment, get, has_logged, post, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN = {"/health", "/ready"}
SLUG = "often"
# What the log of each service contains; the server logs nothing while all is well.
LOGGED = {
    "postgres": "database system is ready to accept connections",
    "server": "",
    "bootstrap": "hello/hello",
    "worker": "Worker",
}
# The warning about the permissions that `write_env` gives to the file of an embedded stack.
OPEN_FILE = "other users of this machine can read STACK_PASSWORD in .env: chmod 600 .env"


class RunningStack:
    """Claims that leave the stack as they found it."""

    def test_hello_runs_to_completion_and_its_log_is_there(self, stack: Stack) -> None:
        with stack.client() as client:
            run = complete(client, "hello/hello", {"name": "Ada"})
            wait_for("line of the log", lambda: has_logged(client, run["id"], "Hello, Ada"), 30)

    def test_export_writes_its_rows_and_shows_them_in_a_table(self, stack: Stack) -> None:
        with stack.client() as client:
            run = complete(client, "export/export", {"env": "pro", "select": "orders"})
            body = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
            artifacts = post(client, "/artifacts/filter", body)
        tables = [artifact for artifact in artifacts if artifact["key"] == "export"]
        assert [table["type"] for table in tables] == ["table"]
        assert "orders" in str(tables[0]["data"])

    def test_a_schedule_makes_runs_and_they_complete(self, stack: Stack) -> None:
        with stack.client() as client:
            body = {
                "flow_runs": {"tags": {"all_": ["auto-scheduled"]}},
                "deployments": {"name": {"any_": ["scheduled"]}},
            }

            def done() -> list[object]:
                runs = post(client, "/flow_runs/filter", body)
                return [run for run in runs if run["state_type"] == "COMPLETED"]

            wait_for("completed run that a schedule made", done, 120)

    def test_the_deployments_that_are_shipped_have_runs_ahead(self, stack: Stack) -> None:
        with stack.client() as client:
            body = {
                "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
                "deployments": {"name": {"any_": ["hello"]}},
            }
            wait_for("scheduled run of hello", lambda: post(client, "/flow_runs/filter", body))

    def test_the_api_answers_401_without_the_login_but_for_health(self, stack: Stack) -> None:
        paths = httpx.get(f"{stack.url}/openapi.json").json()["paths"]
        asked = []
        with httpx.Client(base_url=f"{stack.url}/api", timeout=60) as client:
            for path, methods in paths.items():
                for method in set(methods) & {"get", "post", "put", "patch", "delete"}:
                    if path in OPEN:
                        continue
                    answer = client.request(method, path)
                    asked.append((answer.status_code, method, path))
        assert len(asked) > 100
        assert [each for each in asked if each[0] != httpx.codes.UNAUTHORIZED] == []

    def test_a_wrong_password_is_refused_and_the_right_one_taken(self, stack: Stack) -> None:
        wrong = httpx.get(f"{stack.url}/api/version", auth=("admin", NASTY + "x"))
        right = httpx.get(f"{stack.url}/api/version", auth=("admin", NASTY))
        assert (wrong.status_code, right.status_code) == (401, 200)

    def test_the_ui_calls_its_own_origin_under_any_name(self, stack: Stack) -> None:
        for host in ("localhost", "prefect.example"):
            answer = httpx.get(f"{stack.url}/ui-settings", headers={"Host": host})
            assert answer.json()["api_url"] == "/api"
        assert "<html" in httpx.get(f"{stack.url}/v2", follow_redirects=True).text.lower()

    def test_another_site_may_not_call_the_api(self, stack: Stack) -> None:
        headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
        answer = httpx.options(f"{stack.url}/api/flows/count", headers=headers)
        assert "access-control-allow-origin" not in answer.headers

    def test_bootstrap_by_hand_needs_nothing_set_up_and_changes_nothing(self, stack: Stack) -> None:
        with stack.client() as client:
            before = deployment(client)["updated"]
            result = stack.run("python3", "scripts/bootstrap.py")
            assert result.returncode == 0, stack.said[-1]
            assert result.stdout.rstrip().endswith("nothing changed")
            assert "create" not in result.stdout
            assert deployment(client)["updated"] == before

    def test_a_second_up_says_so_and_changes_nothing(self, stack: Stack) -> None:
        with stack.client() as client:
            before = deployment(client)["updated"]
            running = [(each["name"], each["detail"]) for each in stack.status()["services"]]
            said = stack.up()
            assert f"{stack.name} was already running" in said
            warned = f"warning: {OPEN_FILE}" in stack.said[-1]
            assert warned == (stack.backend == "embedded")
            after = [(each["name"], each["detail"]) for each in stack.status()["services"]]
            assert (running, before) == (after, deployment(client)["updated"])

    def test_a_schedule_that_was_paused_stays_paused(self, stack: Stack) -> None:
        with stack.client() as client:
            hello = deployment(client)
            schedule = hello["schedules"][0]
            path = f"/deployments/{hello['id']}/schedules/{schedule['id']}"
            client.patch(path, json={"active": False}).raise_for_status()
            try:
                assert "nothing changed" in stack.run("scripts/bootstrap.py").stdout
                stack.up()
                after = deployment(client)["schedules"]
                assert [(each["id"], each["active"]) for each in after] == [(schedule["id"], False)]
            finally:
                client.patch(path, json={"active": True}).raise_for_status()

    def test_the_work_pool_runs_as_many_at_once_as_is_set(self, stack: Stack) -> None:
        with stack.client() as client:
            assert get(client, "/work_pools/default")["concurrency_limit"] == 7

    def test_an_edited_flow_is_what_the_next_run_executes(self, stack: Stack) -> None:
        before = (stack.root / "flows/hello.py").read_text()
        stack.edit("flows/hello.py", lambda text: text.replace("Hello, ", "Salve, "))
        try:
            with stack.client() as client:
                run = complete(client, "hello/hello")
                wait_for("edited line", lambda: has_logged(client, run["id"], "Salve, world"), 30)
        finally:
            (stack.root / "flows/hello.py").write_text(before)

    def test_status_and_logs_show_every_service(self, stack: Stack) -> None:
        status = stack.status()
        assert (status["running"], status["backend"]) == (True, stack.backend)
        assert [each["name"] for each in status["services"]] == [
            *("init", "postgres", "migrate", "server", "bootstrap", "worker"),
        ]
        assert "Worker" in stack.command("logs", "worker")

    def test_prefect_on_the_host_talks_to_the_stack(self, stack: Stack) -> None:
        script = 'eval "$(scripts/stack env)" && prefect deployment ls'
        result = stack.run("sh", "-c", script)
        assert "hello/hello" in result.stdout, stack.said[-1]

    def test_no_log_holds_a_secret(self, stack: Stack) -> None:
        logs = stack.command("logs")
        for name, line in LOGGED.items():
            log = stack.command("logs", name)
            assert line in log
            logs += log
        for secret in (NASTY, quote(NASTY), quote_plus(NASTY), base64_login()):
            assert secret not in logs


class RestartedStack:
    """Claims that stop or kill parts of the stack, which is brought up again after each test."""

    @pytest.fixture(autouse=True)
    def _up_afterwards(self, stack: Stack) -> Iterator[None]:
        yield
        if not stack.status()["running"]:
            stack.up()

    def test_down_then_up_keeps_runs_blocks_and_deployments(self, stack: Stack) -> None:
        with stack.client() as client:
            run = complete(client, "hello/hello")["id"]
            before = _kept(client)
        assert "kept" in stack.down()
        assert not stack.status()["running"]
        stack.up()
        with stack.client() as client:
            assert _kept(client) == before
            assert get(client, f"/flow_runs/{run}")["state_type"] == "COMPLETED"
            complete(client, "hello/hello")

    @pytest.mark.slow
    def test_one_setting_changes_the_type_of_worker_there_and_back(self, stack: Stack) -> None:
        with stack.client() as client:
            before = _kept(client)
        stack.down()
        stack.variables["WORKER_TYPE"] = "process"
        try:
            stack.up()
            with stack.client() as client:
                complete(client, "hello/hello")
                assert _kept(client) == before
            # Prefect's own worker warns when it polls a pool of the type prefork.
            assert "Worker type mismatch" in stack.command("logs", "worker")
        finally:
            del stack.variables["WORKER_TYPE"]
            stack.down()
            stack.up()
        with stack.client() as client:
            complete(client, "hello/hello")
            assert _kept(client) == before


def base64_login() -> str:
    """Return the login as the header of a request carries it."""
    return base64.b64encode(f"admin:{NASTY}".encode()).decode()


def heals(stack: Stack, service: str) -> None:
    """Wait until `status` is healthy after a kill of `service`; then run a flow."""
    wait_for(f"healthy stack after the end of {service}", lambda: _whole(stack), 60)
    with stack.client() as client:
        complete(client, "hello/hello")


def restarts(stack: Stack, service: str) -> int:
    """Return how often `service` was restarted, as `status` counts it."""
    details = {each["name"]: str(each["detail"]) for each in stack.status()["services"]}
    counted = re.search(r"(\d+) restarts", details[service])
    return int(counted[1]) if counted else 0


@contextmanager
def running(tested: Stack) -> Iterator[Stack]:
    """Start `tested` with passwords of special characters and a schedule to wait for; yield it."""
    write_env(tested)
    schedule_often(tested)
    with stacks.stack(tested):
        tested.up()
        yield tested


def schedule_often(stack: Stack) -> None:
    """Declare one deployment that runs every 20 seconds, and one that sets every key."""
    extra = f"""
  - name: scheduled
    entrypoint: flows/hello.py:hello
    schedules:
      - slug: {SLUG}
        interval: 20
        anchor_date: "2026-01-01T00:00:00+00:00"
    work_pool:
      name: default

  # Every key, so that a second bootstrap compares each with what the server has stored.
  - name: everything
    entrypoint: flows/export.py:export
    description: of everything
    version: "1"
    tags: [b, a]
    paused: false
    parameters: {{ env: pre, min_date: 2026-01-01 }}
    concurrency_limit: {{ limit: 3, collision_strategy: CANCEL_NEW }}
    schedules:
      - slug: rule
        rrule: FREQ=DAILY
        active: false
      - slug: interval
        interval: 86400
        timezone: Europe/Madrid
        parameters: {{ env: snd }}
        active: false
    work_pool:
      name: default
      work_queue_name: slow
      job_variables: {{ env: {{ A: "1" }} }}
"""
    stack.edit("prefect.yaml", lambda text: text + extra)


def write_env(stack: Stack) -> None:
    """Write an `.env` with passwords of special characters, a concurrency and a webhook."""
    path = stack.root / ".env"
    path.write_text(
        f"STACK_PASSWORD={stacks.single_quoted(NASTY)}\n"
        f"POSTGRES_PASSWORD={stacks.single_quoted(NASTY)}\n"
        "WORKER_CONCURRENCY=7\n"
        "SLACK_WEBHOOK_URL=https://hooks.slack.com/services/T00000000/B00000000/xxxx\n"
    )
    # In Docker, `init` reads the file as root; the user of the containers must not need to.
    path.chmod(0o600 if stack.backend == "docker" else 0o644)


def _whole(stack: Stack) -> bool:
    return bool(stack.status()["running"])


def _kept(client: httpx.Client) -> dict[str, list[str]]:
    names = {}
    for kind in ("deployments", "block_documents", "work_pools"):
        resources = post(client, f"/{kind}/filter", {})
        names[kind] = sorted(f"{resource['id']} {resource['name']}" for resource in resources)
    assert any("slack" in name for name in names["block_documents"])
    return names
