"""The stack without Docker, from `up` to the end of a supervisor that was killed."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from server.place import worker_name
from server.probe import check_http
from server.remote import Api
from tests import claims
from tests.claims import RestartedStack, RunningStack, heals
from tests.embedded.processes import facts, processes, service
from tests.stack import NASTY, Stack, wait_for
from worker import health

if TYPE_CHECKING:
    from collections.abc import Sequence


def connections(process: psutil.Process) -> Sequence[Any]:
    """Those of a process; of a run that has just ended, none."""
    try:
        return process.net_connections()
    except psutil.NoSuchProcess:
        return []


class TestRunning(RunningStack):
    """All that holds for both backends, and what is special without Docker."""

    def test_nothing_listens_outside_loopback(self, stack: Stack) -> None:
        found = processes(stack)
        listening = [
            connection.laddr.ip
            for process in found
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
        found = facts(stack, "name", "username", "cwd")
        postgres = [each for each in found if each["name"] == "postgres"]
        assert {each["username"] for each in postgres} == {"prefect-stack"}
        assert {each["cwd"].startswith("/var/lib/prefect-stack/") for each in postgres} == {True}

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
        for problem, found in {
            "not heard of the worker since": health.check(api, port, name, now + 60),
            "not heard of the worker since it": health.check(api, port, "another", 0),
            "/workers/filter answers 401": health.check(wrong, port, name, 0),
            "no answer from /health": health.check(api, 1, name, 0),
        }.items():
            assert problem in str(found)


class TestRestarted(RestartedStack):
    """All that holds for both backends after a restart, and kills of single processes."""

    @pytest.mark.parametrize("name", ["postgres", "server", "worker"])
    def test_a_service_that_was_killed_comes_back(self, stack: Stack, name: str) -> None:
        pid = service(stack, name).pid
        os.kill(pid, signal.SIGKILL)
        wait_for("end of the process", lambda: not alive(pid))
        heals(stack, name)
        assert "1 restarts" in claims.restarts(stack, name)

    def test_down_leaves_no_process_of_a_supervisor_that_was_killed(self, stack: Stack) -> None:
        state = psutil.Process(supervisor_pid(stack))
        left = [each for each in processes(stack) if each.pid != state.pid]
        state.kill()
        wait_for("end of the supervisor", lambda: not alive(state.pid))
        assert not stack.status()["running"]
        stack.down()
        assert processes(stack) == []
        assert [each.pid for each in left if alive(each.pid)] == []

    def test_up_heals_what_a_killed_supervisor_has_left(self, stack: Stack) -> None:
        if not stack.status()["running"]:
            stack.up()
        psutil.Process(supervisor_pid(stack)).kill()
        wait_for("stack without supervisor", lambda: not stack.status()["running"])
        stack.up()
        heals(stack, "supervisor")

    def test_sigterm_to_the_supervisor_stops_all_processes(self, stack: Stack) -> None:
        found = processes(stack)
        psutil.Process(supervisor_pid(stack)).terminate()
        _, still = psutil.wait_procs(found, timeout=60)
        assert still == []


def supervisor_pid(stack: Stack) -> int:
    """The one that starts all others."""
    # Not by the command lines of all processes: one that has just ended has none to be read.
    state = json.loads((stack.root / ".stack" / stack.name / "state.json").read_text())
    assert psutil.pid_exists(state["pid"])
    return int(state["pid"])


def alive(pid: int) -> bool:
    """Whether there is such a process, and no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
