"""What holds for alerts on either backend, and a stack with a stand-in for Slack."""

from __future__ import annotations

import json
import signal
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from ruamel.yaml import YAML

from tests.slack.inbox import URL
from tests.stack import Stack, finished, get, post, start_run, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.slack.inbox import Inbox

FIND = "find-runs-without-heartbeat"
PATIENCE = 240  # seconds; starting a run is slow on a loaded machine

FLOWS = '''
import time

from prefect import flow
from prefect.flow_runs import suspend_flow_run


@flow
def fails() -> None:
    """Fail."""
    raise ValueError("no such <column>")


@flow(timeout_seconds=1)
def takes_too_long() -> None:
    """Time out."""
    for _ in range(600):
        time.sleep(0.1)


@flow
def sleeps(seconds: int = 0) -> None:
    """Take so long."""
    time.sleep(seconds)


@flow(retries=1, retry_delay_seconds=3600)
def tries_again_in_an_hour() -> None:
    """Wait for a retry."""
    raise ValueError("not now")


@flow
def waits_for_a_person() -> None:
    """Suspend."""
    suspend_flow_run(timeout=3600)


@flow
def parent_that_goes_on() -> str:
    """Survive a subflow."""
    fails(return_state=True)
    return "done without it"
'''
NAMES = (
    *("fails", "takes_too_long", "sleeps", "tries_again_in_an_hour", "waits_for_a_person"),
    "parent_that_goes_on",
)


@dataclass(kw_only=True)
class AlertingStack(Stack):
    """A stack whose messages to Slack arrive in `inbox`."""

    inbox: Inbox

    def prepare(self) -> None:
        """Write the webhook and the flows that end badly into the clone."""
        (self.root / ".env").write_text(f"SLACK_WEBHOOK_URL={URL}\n")
        (self.root / "flows/ending.py").write_text(FLOWS)
        declared = {"name": "test", "pull": [], "deployments": [_deployment(n) for n in NAMES]}
        (self.root / "prefect.yaml").write_text(json.dumps(declared))  # JSON is YAML

    @contextmanager
    def shortened(self, times: dict[str, int]) -> Iterator[None]:
        """Meanwhile shorten `within` of these automations to the given seconds, and only that."""
        path = self.root / "stack.yaml"
        shipped = path.read_text()
        self.edit(
            "stack.yaml", lambda text: edited_yaml(text, lambda declared: _shorten(declared, times))
        )
        try:
            self._bootstrap(f"{len(times)} updated")
            yield
        finally:
            path.write_text(shipped)
        self._bootstrap(f"{len(times)} updated")

    def _bootstrap(self, outcome: str) -> None:
        result = self.run("scripts/bootstrap.py")
        assert outcome in result.stdout, self.said[-1]

    def link(self, run: dict[str, Any]) -> str:
        """Return the link to a run in the UI, in Slack's markup."""
        return f"<{self.url}/v2/runs/flow-run/{run['id']}|{run['name']}>"

    def message(self, run: dict[str, Any], seconds: float = PATIENCE) -> str:
        """Wait for a message that links to `run`; return its text."""
        link = self.link(run)
        return str(wait_for(f"message about {link}", lambda: self.inbox.about(link), seconds)[0])

    def report(self) -> str:
        """Return the usual report, the end of the server's log and every request to Slack."""
        received = "\n".join(json.dumps(request) for request in self.inbox.requests())
        log = self.run("scripts/stack", "logs", "server").stdout
        return f"{super().report()}\n--- server\n{log[-12000:]}\n--- requests to Slack\n{received}"


class FailedRuns(ABC):
    """Claims about runs that end badly."""

    @abstractmethod
    def kill_worker(self, stack: AlertingStack) -> None:
        """Kill the worker with SIGKILL; the backend is expected to start another."""

    @abstractmethod
    def signal_run(self, stack: AlertingStack, pid: int, number: signal.Signals) -> None:
        """Send a signal to a run's process; `pid` is the one that the server knows."""

    def test_each_run_that_fails_or_times_out_puts_one_message_there(
        self, stack: AlertingStack
    ) -> None:
        with stack.client() as client:
            before = len(stack.inbox.messages())
            first = failed(client, "fails/fails")
            said = stack.message(first)
            assert said.splitlines()[0] == "fails: Failed"
            assert "no such &lt;column&gt;" in said
            completed = finished(client, start_run(client, "sleeps/sleeps"), PATIENCE)
            assert completed["state_type"] == "COMPLETED"
            late = failed(client, "takes-too-long/takes_too_long")
            said = stack.message(late)
            assert said.splitlines()[0] == "takes-too-long: TimedOut"
            assert late["state_type"] == "FAILED"
            # Messages arrive in the order of the runs: a second one about the first run, or one
            # about the completed run, would arrive before the last.
            last = failed(client, "fails/fails")
            stack.message(last)
            received = stack.inbox.messages()[before:]
            links = [stack.link(run) for run in (first, late, last)]
            assert [link in text for link, text in zip(links, received, strict=True)] == [True] * 3
            assert stack.inbox.about(completed["id"]) == []

    def test_the_link_of_a_message_opens_the_ui(self, stack: AlertingStack) -> None:
        with stack.client() as client:
            run = failed(client, "fails/fails")
        address = stack.message(run).split("<")[1].split("|")[0]
        assert address == f"{stack.url}/v2/runs/flow-run/{run['id']}"
        answer = httpx.get(address, headers={"Accept": "text/html"})
        assert (answer.status_code, "/v2/assets/" in answer.text) == (200, True)

    def test_a_flow_that_its_parent_survives_is_no_alert(self, stack: AlertingStack) -> None:
        with stack.client() as client:
            name = "parent-that-goes-on/parent_that_goes_on"
            parent = finished(client, start_run(client, name), PATIENCE)
            assert parent["state_type"] == "COMPLETED"
            body = {"flow_runs": {"parent_flow_run_id": {"any_": [parent["id"]]}}}
            (child,) = post(client, "/flow_runs/filter", body)
            assert child["state_type"] == "FAILED"
            stack.message(failed(client, "fails/fails"))
            assert stack.inbox.about(child["id"]) + stack.inbox.about(parent["id"]) == []

    def test_a_run_whose_worker_was_killed_puts_one_message_there(
        self, stack: AlertingStack
    ) -> None:
        with stack.client() as client:
            run = start_run(client, "sleeps/sleeps", {"seconds": 3600})
            reaches(client, run, "Running")
            self.kill_worker(stack)
            crashed = finished(client, run, PATIENCE)
            assert stack.message(crashed).splitlines()[0] == "sleeps: Crashed"
            stack.message(failed(client, "fails/fails"))  # the worker is back
            assert len(stack.inbox.about(run)) == 1

    @pytest.mark.slow
    def test_a_run_that_falls_silent_puts_one_message_there_and_one_that_waits_does_not(
        self, stack: AlertingStack
    ) -> None:
        # A run sends a heartbeat every 30 seconds.
        with stack.shortened({FIND: 60}), stack.client() as client:
            suspended = start_run(client, "waits-for-a-person/waits_for_a_person")
            retrying = start_run(client, "tries-again-in-an-hour/tries_again_in_an_hour")
            reaches(client, suspended, "Suspended")
            reaches(client, retrying, "AwaitingRetry")
            run = start_run(client, "sleeps/sleeps", {"seconds": 3600})
            event, resource = "prefect.flow-run.heartbeat", f"prefect.flow-run.{run}"
            wait_for("heartbeat", lambda: happened(client, event, resource))
            pid = int(
                wait_for("pid", lambda: get(client, f"/flow_runs/{run}")["infrastructure_pid"])
            )
            self.signal_run(stack, pid, signal.SIGSTOP)
            try:
                crashed = finished(client, run, PATIENCE)
            finally:
                self.signal_run(stack, pid, signal.SIGKILL)
            said = stack.message(crashed)
            assert said.splitlines()[0] == "sleeps: Crashed"
            assert "No heartbeat" in said
            # By now the two waiting runs have sent no heartbeat for longer than the crashed one.
            stack.message(failed(client, "fails/fails"))
            assert len(stack.inbox.about(run)) == 1
            states = [
                get(client, f"/flow_runs/{waiting}")["state"] for waiting in (suspended, retrying)
            ]
            assert [state["name"] for state in states] == ["Suspended", "AwaitingRetry"]
            assert stack.inbox.about(suspended) + stack.inbox.about(retrying) == []


def edited_yaml(text: str, change: Callable[[Any], None]) -> str:
    """Return the YAML `text` after `change`, with its comments and anchors kept."""
    yaml = YAML()
    document = yaml.load(text)
    change(document)
    written = StringIO()
    yaml.dump(document, written)
    return written.getvalue()


def reaches(client: httpx.Client, run_id: str, state: str, seconds: float = PATIENCE) -> None:
    """Wait until a run is in the state that is called `state`."""

    def probe() -> bool:
        current = get(client, f"/flow_runs/{run_id}")["state"]
        return bool(current["name"] == state)

    wait_for(f"state {state} of run {run_id}", probe, seconds)


def happened(client: httpx.Client, prefix: str, resource: str | None = None) -> list[Any]:
    """Return the events whose names begin with `prefix`, of `resource` if given, newest first."""
    body: dict[str, Any] = {"filter": {"event": {"prefix": [prefix]}, "order": "DESC"}}
    if resource:
        body["filter"]["any_resource"] = {"id": [resource]}
    return list(post(client, "/events/filter", body)["events"])


def failed(client: httpx.Client, name: str) -> dict[str, Any]:
    """Run a deployment until its state is of type FAILED, and no other; return the run."""
    run = finished(client, start_run(client, name), PATIENCE)
    assert run["state_type"] == "FAILED", run["state"]
    return run


def _deployment(name: str) -> dict[str, Any]:
    pool = {"name": "default"}
    return {"name": name, "entrypoint": f"flows/ending.py:{name}", "work_pool": pool}


def _shorten(declared: Any, times: dict[str, int]) -> None:
    triggers = {automation["name"]: automation["trigger"] for automation in declared["automations"]}
    for name, seconds in times.items():
        assert triggers[name]["within"] > seconds
        triggers[name]["within"] = seconds
