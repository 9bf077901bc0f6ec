"""Every shipped automation fires on a real server, and its message arrives at Slack."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import uuid4

import psutil
import pytest

from tests import stack as stacks
from tests.alerts import FIND, PATIENCE, AlertingStack, FailedRuns, failed, happened, reaches
from tests.embedded.processes import processes, service
from tests.slack import inbox as inboxes
from tests.stack import finished, get, make, post, start_run, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

SCRIPT = """
import sys

import prefect


@prefect.flow
def script():
    raise ValueError("no such file")


with prefect.tags(sys.argv[1]):
    script()
"""
# A run may be silent for 300 seconds; 60 later, Prefect itself forgets that it was expecting it.
POWER_CUT = 370  # seconds


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlertingStack]:
    """A running stack whose messages to Slack end at the tests' proxy."""
    inbox = inboxes.make(tmp_path_factory.mktemp("inbox"))
    stack = AlertingStack(**vars(make(tmp_path_factory, "alerts")), inbox=inbox)
    stack.prepare()
    with inboxes.proxy(inbox) as proxy, stacks.stack(stack):
        stack.variables |= {
            "HTTPS_PROXY": proxy,
            "NO_PROXY": "127.0.0.1",
            "REQUESTS_CA_BUNDLE": str(inbox.ca),
        }
        stack.up()
        yield stack


class TestAlerts(FailedRuns):
    """What holds for both backends, and the remaining automations."""

    def kill_worker(self, stack: AlertingStack) -> None:
        """The worker's runs end with it, since the kernel signals them when it dies."""
        service(stack, "worker").kill()

    def signal_run(self, stack: AlertingStack, pid: int, number: signal.Signals) -> None:  # noqa: ARG002
        os.kill(pid, number)

    @pytest.mark.slow
    def test_late_runs_and_a_pool_without_worker_put_one_message_each_there(
        self, stack: AlertingStack
    ) -> None:
        pool, late_runs = "alert-on-work-pool-without-worker", "alert-on-late-runs"
        with stack.shortened({pool: 10, late_runs: 60, FIND: 60}), stack.client() as client:
            # It runs for longer than a run may be silent, and its own heartbeats keep it alive.
            lives = start_run(client, "sleeps/sleeps", {"seconds": 100})
            reaches(client, lives, "Running")
            with _stopped(service(stack, "worker")):
                late = [start_run(client, "sleeps/sleeps") for _ in range(3)]
                for run in late:
                    reaches(client, run, "Late")
                title = "Work pool default: no worker"
                (said,) = wait_for(title, lambda: stack.inbox.about(title), PATIENCE)
                assert f"<{stack.url}/v2/work-pools/work-pool/default|default>" in said
            for run in (lives, *late):
                assert finished(client, run, PATIENCE)["state_type"] == "COMPLETED"
            stack.message(failed(client, "fails/fails"))
            told = [
                text for text in stack.inbox.about(": late") if any(run in text for run in late)
            ]
            assert len(told) == 1
            assert len(stack.inbox.about(title)) == 1
            assert stack.inbox.about(lives) == []

    @pytest.mark.slow
    def test_a_run_that_was_taken_and_never_started_is_crashed(self, stack: AlertingStack) -> None:
        times = {"crash-runs-stuck-in-pending": 10}
        with stack.shortened(times), stack.client() as client, _stopped(service(stack, "worker")):
            run = start_run(client, "sleeps/sleeps")
            body = {"state": {"type": "PENDING", "name": "Pending"}}
            post(client, f"/flow_runs/{run}/set_state", body)
            crashed = finished(client, run, PATIENCE)
            assert stack.message(crashed).splitlines()[0] == "sleeps: Crashed"
            assert "Pending" in crashed["state"]["message"]

    @pytest.mark.slow
    def test_a_heartbeat_that_comes_after_the_end_changes_nothing(
        self, stack: AlertingStack
    ) -> None:
        with stack.shortened({FIND: 10}), stack.client() as client:
            run = finished(client, start_run(client, "sleeps/sleeps"), PATIENCE)
            post(client, "/events", [_heartbeat(client, run["id"])])
            event = "prefect.automation.action.failed"

            def refused() -> list[object]:
                failures = happened(client, event, f"prefect.flow-run.{run['id']}")
                return [e for e in failures if e["resource"]["prefect.resource.name"] == FIND]

            refusals = wait_for("refused change", refused, PATIENCE)
            assert "already in terminal state COMPLETED" in str(refusals[0]["payload"])
            assert get(client, f"/flow_runs/{run['id']}")["state_type"] == "COMPLETED"
            assert stack.inbox.about(run["id"]) == []

    def test_a_script_without_deployment_puts_a_message_there_if_it_asks(
        self, stack: AlertingStack
    ) -> None:
        (stack.root / "script.py").write_text(SCRIPT)
        for tag in ("nothing", "alert"):
            command = f'eval "$(scripts/stack env)"; python script.py {tag}'
            assert stack.run("sh", "-c", command).returncode != 0
        with stack.client() as client:
            body = {"flows": {"name": {"any_": ["script"]}}, "sort": "START_TIME_ASC"}
            silent, loud = post(client, "/flow_runs/filter", body)
        assert stack.message(loud).splitlines()[0] == "script: Failed"
        assert stack.inbox.about(silent["id"]) == []

    @pytest.mark.parametrize("status", [HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.NOT_FOUND])
    def test_a_fault_of_slack_is_shown_and_no_run_suffers(
        self, stack: AlertingStack, status: HTTPStatus
    ) -> None:
        with stack.client() as client:
            before = len(_not_sent(client))
            with stack.inbox.answering(status):
                run = failed(client, "fails/fails")
                wait_for("event", lambda: len(_not_sent(client)) == before + 1, PATIENCE)
            assert "ValueError" in get(client, f"/flow_runs/{run['id']}")["state"]["message"]
            log = stack.command("logs", "server")
            assert f"error={int(status)}." in log
            assert "Action failed: 'Notification failed'" in log
            assert inboxes.URL not in log
            stack.message(failed(client, "fails/fails"))
            assert stack.inbox.about(run["id"]) == []

    def test_a_second_bootstrap_leaves_the_automations_as_they_are(
        self, stack: AlertingStack
    ) -> None:
        said = stack.run("scripts/bootstrap.py").stdout
        assert said.rstrip().endswith("nothing changed"), stack.said[-1]

    def test_nothing_went_anywhere_but_to_slack(self, stack: AlertingStack) -> None:
        assert stack.inbox.requests()
        assert [request for request in stack.inbox.requests() if "refused" in request] == []

    @pytest.mark.slow
    def test_a_run_that_a_power_cut_ended_is_crashed_when_the_worker_is_back(
        self, stack: AlertingStack
    ) -> None:
        run = _cut_power_from_a_run(stack)
        stack.up()
        with stack.client() as client:
            crashed = finished(client, run, PATIENCE)
            assert crashed["state_type"] == "CRASHED", crashed["state"]
            assert "The worker was killed" in crashed["state"]["message"]
        # Its message may take 15 minutes: the server no longer knows the event before it.

    @pytest.mark.slow  # six minutes; a run that falls silent, in tests/alerts.py, takes one
    @pytest.mark.timeout(1200)
    def test_a_run_whose_machine_never_came_back_is_crashed_by_the_server(
        self, stack: AlertingStack
    ) -> None:
        run = _cut_power_from_a_run(stack)
        shutil.rmtree(
            stack.root / ".stack" / stack.name / "scratch/journal"
        )  # the worker's record of its runs
        over = time.monotonic() + POWER_CUT
        wait_for("end of the power cut", lambda: time.monotonic() > over, 2 * POWER_CUT)
        stack.up()
        with stack.client() as client:
            crashed = finished(client, run, PATIENCE)
        assert stack.message(crashed).splitlines()[0] == "sleeps: Crashed"


def _cut_power_from_a_run(stack: AlertingStack) -> str:
    with stack.client() as client:
        run = start_run(client, "sleeps/sleeps", {"seconds": 3600})
        reaches(client, run, "Running")
    stack_processes = processes(stack)
    for number in (
        signal.SIGSTOP,
        signal.SIGKILL,
    ):  # stopped first, so that none reacts to the death of another
        for process in stack_processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
    assert psutil.wait_procs(stack_processes, 60)[1] == []
    return run


@contextmanager
def _stopped(process: psutil.Process) -> Iterator[None]:
    """Suspend the process meanwhile, as if its machine were gone."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def _not_sent(client: httpx.Client) -> list[object]:
    """Return the events of the messages that Slack did not accept."""
    failures = happened(client, "prefect.automation.action.failed")
    return [
        failure for failure in failures if failure["payload"]["reason"] == "Notification failed"
    ]


def _heartbeat(client: httpx.Client, run_id: str) -> dict[str, object]:
    """Return the heartbeat that a run sends if it is slow to end: PrefectHQ/prefect issue 18653."""
    pool = get(client, "/work_pools/default")["id"]
    return {
        "id": str(uuid4()),
        "event": "prefect.flow-run.heartbeat",
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run_id}"},
        "related": [
            {
                "prefect.resource.id": f"prefect.work-pool.{pool}",
                "prefect.resource.role": "work-pool",
                "prefect.resource.name": "default",
            }
        ],
    }
