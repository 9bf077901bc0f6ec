"""`status` judges an embedded stack by its lock and by the state that its supervisor writes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

import psutil
import pytest

from scripts.backends.embedded import condition, outcome, processes, state
from scripts.backends.embedded.cluster import Cluster
from scripts.backends.embedded.layout import Layout
from scripts.backends.embedded.state import ServiceState, StackState
from server.errors import MistakeError
from server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from scripts.status import StackStatus


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout("unit", tmp_path)


def state_with(phase: state.Phase = "running", error: str | None = None) -> StackState:
    """Return a state in which every service is well."""
    services = [
        ServiceState(name="bootstrap", status="done", healthy=True),
        ServiceState(name="worker", status="running", healthy=True, pid=1),
    ]
    return StackState(pid=1, fingerprint="", phase=phase, services=services, error=error)


def status_of(layout: Layout, *, alive: bool) -> StackStatus:
    """Return the status of a stack whose supervisor is alive or gone."""
    held: AbstractContextManager[None] = state.locked(layout) if alive else nullcontext()
    with held:
        return condition.of(layout, Settings())


def test_all_is_well(layout: Layout) -> None:
    state.write(layout, state_with())
    status = status_of(layout, alive=True)
    assert (status.running, status.problem) == (True, None)


def test_without_state_and_supervisor_there_is_no_stack(layout: Layout) -> None:
    assert status_of(layout, alive=False).backend == "none"


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}', "\x00"])
def test_a_damaged_state_of_a_supervisor_that_lives_is_no_stack_that_is_down(
    layout: Layout, text: str
) -> None:
    layout.state.write_text(text)
    status = status_of(layout, alive=True)
    assert (status.backend, status.running) == ("embedded", False)
    assert "is damaged" in str(status.problem)
    assert "scripts/stack up" in str(status.problem)


def test_a_supervisor_that_is_gone_is_told_with_what_to_type(layout: Layout) -> None:
    for text in (state_with().model_dump_json(), "damaged"):
        layout.state.write_text(text)
        status = status_of(layout, alive=False)
        assert not status.running
        assert "the supervisor is gone" in str(status.problem)
        assert "Type scripts/stack up" in str(status.problem)


def test_a_start_that_failed_says_why(layout: Layout) -> None:
    state.write(layout, state_with("failed", "postgres did not become healthy"))
    status = status_of(layout, alive=False)
    assert "postgres did not become healthy" in str(status.problem)
    assert "unknown" not in status.services[1].status


def test_an_old_state_is_not_well_whatever_it_says(layout: Layout) -> None:
    old = state_with()
    old.written_at = time.monotonic() - 2 * condition.STALE_SECONDS
    state.replace(layout.state, old)
    status = status_of(layout, alive=True)
    assert not status.running
    assert "could not write its state" in str(status.problem)
    assert "df -h" in str(status.problem)


def test_a_later_bootstrap_is_shown_instead_of_that_of_the_start(layout: Layout) -> None:
    state.write(layout, state_with())
    outcome.keep(layout, MistakeError("prefect.yaml line 3: wrong"), 1.0)
    status = status_of(layout, alive=True)
    assert not status.running
    assert (status.services[0].status, status.services[0].healthy) == ("failed", False)
    assert status.services[0].detail == "prefect.yaml line 3: wrong"
    outcome.keep(layout, None, 1.0)
    assert status_of(layout, alive=True).running
    outcome.forget(layout)
    assert status_of(layout, alive=True).running


@pytest.fixture
def stubborn(layout: Layout) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the stack that ignores SIGTERM."""
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print(flush=True); time.sleep(99)"
    )
    env = {**os.environ, processes.MARKER: str(layout.base)}
    argv = [sys.executable, "-S", "-c", script]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def test_what_was_left_is_really_gone_when_it_has_been_ended(
    layout: Layout, stubborn: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.1)
    cluster = Cluster(layout.base, layout.base, layout.base, None)
    assert processes.end_all(layout, cluster) == 1
    assert not psutil.pid_exists(stubborn.pid)
    assert processes.end_all(layout, cluster) == 0


def test_the_worker_ends_before_the_server_that_its_runs_report_to(
    layout: Layout, tmp_path: Path
) -> None:
    order = tmp_path / "order"
    script = """
import pathlib, signal, sys, time
order, name, seconds = pathlib.Path(sys.argv[1]), sys.argv[2], float(sys.argv[-1])
def told(*_):
    time.sleep(seconds)
    with order.open("a") as file:
        file.write(name + " ")
    sys.exit()
signal.signal(signal.SIGTERM, told)
print(flush=True)
while True:
    signal.pause()
"""
    env = {**os.environ, processes.MARKER: str(layout.base)}
    with contextlib.ExitStack() as stack:
        for words in (["server", "0"], ["worker", "start", "0.2"]):
            argv = [sys.executable, "-S", "-c", script, str(order), *words]
            started = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE)
            stack.enter_context(started)
            stack.callback(started.kill)
            assert started.stdout
            started.stdout.readline()
        cluster = Cluster(layout.base, layout.base, layout.base, None)
        assert processes.end_all(layout, cluster) == 2
    assert order.read_text() == "worker server "


def test_a_child_of_postgres_is_one_of_the_stack_and_is_not_signalled(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL writes titles over the environment, and ends its own children."""
    cluster = Cluster(layout.base, layout.base, layout.base, None)
    cluster.data.mkdir()
    monkeypatch.chdir(cluster.data)
    argv = ["postgres: checkpointer", "30"]
    with subprocess.Popen(argv, executable="/bin/sleep", env={}) as process:
        child = psutil.Process(process.pid)
        monkeypatch.setattr(psutil.Process, "name", lambda _: "postgres")
        assert processes.belongs(child, layout, cluster)
        processes._signal(child, hard=False)  # noqa: SLF001 - what `end` does to each process
        assert process.poll() is None
        process.kill()
