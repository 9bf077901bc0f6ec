"""The stack without Docker: running, restarted, and with processes killed."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from server.api.client import Api
from server.api.http_check import check_http
from server.place import worker_name
from tests import claims
from tests.claims import RestartedStack, RunningStack, heals
from tests.embedded.processes import facts, processes, service
from tests.stack import NASTY, Stack, wait_for
from worker import health

if TYPE_CHECKING:
    from collections.abc import Sequence


def connections(process: psutil.Process) -> Sequence[Any]:
    """Return the connections of a process; none if it has just ended."""
    try:
        return process.net_connections()
    except psutil.NoSuchProcess:
        return []


class TestRunning(RunningStack):
    """What holds for both backends, and what is special without Docker."""

    def test_nothing_listens_outside_loopback(self, stack: Stack) -> None:
        listening = [
            connection.laddr.ip
            for process in processes(stack)
            for connection in connections(process)
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening
        assert [ip for ip in listening if not ipaddress.ip_address(ip).is_loopback] == []

    def test_the_folders_are_closed_to_others(self, stack: Stack) -> None:
        base = stack.root / ".stack" / stack.name
        secrets = [path for path in (base / "secrets").rglob("*") if path.is_file()]
        assert len(secrets) == 3
        assert {path.stat().st_mode & 0o777 for path in secrets} == {0o400}
        assert (base / "secrets").stat().st_mode & 0o077 == 0

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run PostgreSQL as another")
    def test_a_clone_in_a_closed_folder_stays_closed(self, stack: Stack) -> None:
        closed = stack.root.parent
        assert closed.stat().st_mode & 0o777 == 0o700
        attributes = facts(stack, "name", "username", "cwd")
        postgres = [process for process in attributes if process["name"] == "postgres"]
        assert {process["username"] for process in postgres} == {"prefect-stack"}
        assert {p["cwd"].startswith("/var/lib/prefect-stack/") for p in postgres} == {True}

    def test_the_worker_is_healthy_only_if_the_server_has_heard_of_it(self, stack: Stack) -> None:
        port = next(
            connection.laddr.port
            for connection in service(stack, "worker").net_connections()
            if connection.status == psutil.CONN_LISTEN
            and check_http("127.0.0.1", connection.laddr.port, "/health") is None
        )
        url, name, now = f"{stack.url}/api", worker_name(stack.name), time.time()
        api, wrong = Api(url, login=f"admin:{NASTY}"), Api(url, login=f"admin:{NASTY}x")
        assert health.check(api, port, name, now - 3600) is None
        for expected, problem in {
            "not heard of the worker since": health.check(api, port, name, now + 60),
            "not heard of the worker since it": health.check(api, port, "another", 0),
            "/workers/filter answers 401": health.check(wrong, port, name, 0),
            "no answer from /health": health.check(api, 1, name, 0),
        }.items():
            assert expected in str(problem)


class TestRestarted(RestartedStack):
    """What holds for both backends after a restart, and after kills of single processes."""

    @pytest.mark.parametrize("name", ["postgres", "server", "worker"])
    def test_a_service_that_was_killed_comes_back(self, stack: Stack, name: str) -> None:
        pid, before = service(stack, name).pid, claims.restarts(stack, name)
        os.kill(pid, signal.SIGKILL)
        wait_for("end of the process", lambda: not alive(pid))
        heals(stack, name)
        assert claims.restarts(stack, name) == before + 1

    @pytest.mark.slow
    def test_down_leaves_no_process_of_a_supervisor_that_was_killed(self, stack: Stack) -> None:
        supervisor = psutil.Process(supervisor_pid(stack))
        left = [process for process in processes(stack) if process.pid != supervisor.pid]
        supervisor.kill()
        wait_for("end of the supervisor", lambda: not alive(supervisor.pid))
        assert not stack.status()["running"]
        stack.down()
        assert processes(stack) == []
        assert [process.pid for process in left if alive(process.pid)] == []

    def test_up_heals_what_a_killed_supervisor_has_left(self, stack: Stack) -> None:
        psutil.Process(supervisor_pid(stack)).kill()
        wait_for("stack without supervisor", lambda: not stack.status()["running"])
        stack.up()
        heals(stack, "supervisor")

    def test_a_damaged_state_is_soon_right_again(self, stack: Stack) -> None:
        supervisor = supervisor_pid(stack)
        (stack.root / ".stack" / stack.name / "state.json").write_text("")
        assert "was already running" in stack.up()
        assert supervisor_pid(stack) == supervisor
        assert stack.status()["running"]

    @pytest.mark.slow
    def test_a_work_pool_that_was_deleted_by_hand_is_made_again(self, stack: Stack) -> None:
        with stack.client() as client:
            client.delete("/work_pools/default").raise_for_status()
        assert "was already running" in stack.up()
        heals(stack, "the work pool")

    @pytest.mark.slow
    def test_one_deployment_that_is_wrong_keeps_nobody_else_down(self, stack: Stack) -> None:
        before = (stack.root / "prefect.yaml").read_text()
        stack.edit("prefect.yaml", lambda text: text.replace("hello.py:hello", "hello.py:hullo"))
        try:
            for running_before in (True, False):
                if not running_before:
                    stack.down()
                result = stack.run("scripts/stack", "up", "--embedded")
                assert result.returncode == 2, stack.said[-1]
                assert "names a flow that does not exist" in result.stderr
                assert result.stderr.count("error: ") == 1
                assert f"{stack.name} is up, but" in result.stderr
                assert f"UI and API  {stack.url}" in result.stdout
                status = stack.status()
                shown = {service["name"]: service for service in status["services"]}
                assert not status["running"]
                assert [n for n, service in shown.items() if not service["healthy"]] == [
                    "bootstrap"
                ]
                assert "names a flow that does not exist" in shown["bootstrap"]["detail"]
        finally:
            (stack.root / "prefect.yaml").write_text(before)
        stack.up()
        heals(stack, "bootstrap")

    @pytest.mark.slow
    def test_two_commands_at_once_take_turns(self, stack: Stack) -> None:
        lock = stack.root / ".stack" / f"{stack.name}.command"
        with subprocess.Popen(
            ["scripts/stack", "down"],
            cwd=stack.root,
            env=stack.environment(),
            stdout=subprocess.PIPE,
            text=True,
        ) as first:
            wait_for("turn of the first", lambda: lock.exists() and "down" in lock.read_text())
            result = stack.run("scripts/stack", "up", "--embedded")
        assert (first.returncode, result.returncode) == (0, 0), stack.said[-1]
        assert f"(pid {first.pid}: down) works on this stack; waiting for it" in result.stderr
        assert stack.status()["running"]

    @pytest.mark.slow
    def test_an_up_that_is_interrupted_leaves_a_start_for_the_next_to_wait_for(
        self, stack: Stack
    ) -> None:
        stack.down()
        with subprocess.Popen(
            ["scripts/stack", "up", "--embedded"],
            cwd=stack.root,
            env=stack.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as first:
            assert first.stdout
            for line in first.stdout:
                if "postgres" in line:
                    break
            os.killpg(first.pid, signal.SIGINT)  # as Ctrl-C does
            said = first.communicate()[1]
        assert first.returncode == 128 + signal.SIGINT, said
        assert "interrupted: what has been started goes on" in said
        assert "Traceback" not in said
        stack.up()
        assert stack.status()["running"]

    def test_sigterm_to_the_supervisor_stops_all_processes(self, stack: Stack) -> None:
        before = processes(stack)
        psutil.Process(supervisor_pid(stack)).terminate()
        _, alive_after = psutil.wait_procs(before, timeout=60)
        assert alive_after == []


def supervisor_pid(stack: Stack) -> int:
    """Return the pid of the supervisor, from the stack's state."""
    # A search by command lines could meet a process that has just ended and has none.
    state = json.loads((stack.root / ".stack" / stack.name / "state.json").read_text())
    assert psutil.pid_exists(state["pid"])
    return int(state["pid"])


def alive(pid: int) -> bool:
    """Tell whether a process of this pid exists and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
