"""What a command does while the stack's supervisor is silent, gone, or of an earlier release."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from scripts import report
from scripts.backends.embedded import following, processes, state
from scripts.backends.embedded.cluster import Cluster
from scripts.backends.embedded.following import Following
from scripts.backends.embedded.layout import Layout
from scripts.backends.embedded.state import StackState
from server.errors import MistakeError, StackError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLDS = (
    "import fcntl, sys, time; file = open(sys.argv[1], 'ab'); "
    "fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); time.sleep(600)"
)

# The state.json of a supervisor of release 0.1.0.
STATE_OF_0_1 = """{
 "pid": 1, "fingerprint": "4f2a", "phase": "running", "error": null, "exit_code": 0,
 "written_at": 12.5,
 "services": [
  {"name": "init", "status": "done", "healthy": true, "problem": null, "exit_code": 0,
   "pid": null, "restarts": 0, "seconds": 0.0},
  {"name": "bootstrap", "status": "failed", "healthy": false,
   "problem": "prefect.yaml line 3: wrong", "exit_code": 2, "pid": null, "restarts": 0,
   "seconds": 3.1}]}"""


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut the time that a command waits for a supervisor that says nothing."""
    for name in ("STATE_SECONDS", "SILENT_SECONDS"):
        monkeypatch.setattr(following, name, 0.1)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout("unit", tmp_path)


@pytest.fixture
def listening(layout: Layout) -> Following:
    """What a command listens to the stack's supervisor with."""
    return Following(layout, Cluster(layout.base, layout.base, layout.base, None))


@pytest.fixture
def holder(layout: Layout, request: pytest.FixtureRequest) -> Iterator[psutil.Process]:
    """A process that holds the lock: the stack's supervisor, which has its mark, or a stranger."""
    mark = {processes.MARKER: str(layout.base)} if request.param == "supervisor" else {}
    argv = [sys.executable, "-S", "-c", HOLDS, str(layout.lock)]
    with subprocess.Popen(argv, env={**os.environ, **mark}, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield psutil.Process(process.pid)
        process.kill()


@pytest.mark.parametrize("holder", ["stranger"], indirect=True)
def test_a_lock_that_a_stranger_holds_is_not_waited_for_without_end(
    listening: Following, holder: psutil.Process
) -> None:
    with pytest.raises(StackError) as raised:
        listening.current_state()
    assert f"held by process {holder.pid}, which is no supervisor" in str(raised.value)
    assert f"do:       end that process (kill {holder.pid})" in str(raised.value)
    assert listening.supervisor() is None


@pytest.mark.parametrize("holder", ["supervisor"], indirect=True)
@pytest.mark.parametrize("text", ["", "{", None])
def test_a_supervisor_that_says_nothing_is_not_waited_for_without_end(
    layout: Layout, listening: Following, holder: psutil.Process, text: str | None
) -> None:
    if text is not None:
        layout.state.write_text(text)
    for wait in (listening.current_state, lambda: listening.follow(report.Steps(), holder)):
        with pytest.raises(StackError) as raised:
            wait()
        assert "does not say how it is doing" in str(raised.value)
        assert "scripts/stack down, scripts/stack up" in str(raised.value)
    assert listening.supervisor() == holder


@pytest.mark.parametrize("holder", ["supervisor"], indirect=True)
def test_the_last_words_of_a_supervisor_are_read_after_its_end(
    layout: Layout, listening: Following, holder: psutil.Process
) -> None:
    holder.kill()
    holder.wait()
    with pytest.raises(StackError, match="the supervisor ended before the stack was up"):
        listening.follow(report.Steps(), holder)
    failed = StackState(
        pid=holder.pid, fingerprint="", phase="failed", services=[], error="wrong", exit_code=2
    )
    state.write(layout, failed)
    with pytest.raises(MistakeError, match="wrong"):
        listening.follow(report.Steps(), holder)
    assert listening.current_state() is None


def test_a_stack_that_an_earlier_release_started_is_taken_over(
    tmp_path: Path, listening: Following
) -> None:
    (tmp_path / "state.json").write_text(STATE_OF_0_1)
    argv = [sys.executable, "-S", "-c", HOLDS, str(tmp_path / "lock")]
    mark = {"STACK_SUPERVISED": str(tmp_path)}
    with subprocess.Popen(argv, env={**os.environ, **mark}, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert listening.supervisor() == psutil.Process(process.pid)
        told = listening.current_state()
        process.kill()
    assert told
    assert (told.phase, told.fingerprint) == ("running", "4f2a")
    assert told.services[1].problem == "prefect.yaml line 3: wrong"
