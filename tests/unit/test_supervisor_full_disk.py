"""A full disk ends neither the supervisor nor a stack that runs."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from scripts.backends.embedded import service as services
from scripts.backends.embedded import state
from tests.faults import disk
from tests.unit import supervising
from tests.unit.supervising import (
    LIVES,
    Supervised,
    pid_of,
    running,
    service,
    start,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scripts.backends.embedded.layout import Layout
    from scripts.backends.embedded.service import Start

NO_ROOM = OSError(28, "No space left on device")


layout = supervising.layout
supervised = supervising.supervised


def test_a_state_that_cannot_be_written_ends_nothing_and_is_written_later(
    layout: Layout,
    supervised: Callable[..., Supervised],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    its = supervised(service(layout, lambda: start(LIVES)))
    pid = pid_of(its.told(running, "running stack"))
    asked: list[bool] = []

    def full(*_: object) -> None:
        asked.append(True)
        raise NO_ROOM

    with monkeypatch.context() as patched:
        patched.setattr(state, "replace", full)
        until("three attempts", lambda: len(asked) > 3)
    layout.state.unlink()
    assert pid_of(its.told(running, "state that is written again")) == pid


def test_a_process_that_cannot_be_started_is_tried_again(
    layout: Layout, supervised: Callable[..., Supervised]
) -> None:
    full = threading.Event()

    def prepare() -> Start:
        if full.is_set():
            raise NO_ROOM
        return start(LIVES)

    its = supervised(service(layout, prepare), service(layout, lambda: start(LIVES), "two"))
    before = its.told(running, "running stack")
    full.set()
    os.kill(pid_of(before), signal.SIGKILL)
    shown = its.told(lambda it: "No space left" in str(it.services[1].problem), "problem")
    assert pid_of(shown, "two") == pid_of(before, "two")
    until("more attempts than a start is given", lambda: its.supervisor.running[0].failures > 6)
    assert its.alive
    full.clear()
    after = its.told(lambda it: it.services[1].status == "running", "another process")
    assert pid_of(after) != pid_of(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_file_system_without_room_ends_nothing(
    layout: Layout, supervised: Callable[..., Supervised]
) -> None:
    with disk.mounted(layout.base, megabytes=1):
        layout.logs.mkdir()
        its = supervised(service(layout, lambda: start(LIVES)))
        before = its.told(running, "running stack")
        with disk.filled(layout.base):
            os.kill(pid_of(before), signal.SIGKILL)
            until("another process", lambda: _another(its, pid_of(before)))
            assert its.alive
        its.told(lambda it: it.services[1].pid not in {None, pid_of(before)}, "its new state")
        assert its.end() == 0


def test_a_log_that_cannot_be_moved_aside_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, older = tmp_path / "one.log", tmp_path / "one.log.1"
    log.write_text("a line\n")
    older.write_text("older\n")
    monkeypatch.setattr(services, "MAX_LOG_BYTES", 3)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", _raises)
        services.keep_small(log)
    assert (log.read_text(), older.read_text()) == ("a line\n", "older\n")
    services.keep_small(log)
    assert (log.read_text(), older.read_text()) == ("", "a line\n")


def _raises(*_: object) -> None:
    raise NO_ROOM


def _another(its: Supervised, before: int) -> bool:
    process = its.supervisor.running[0].state
    return process.pid not in {None, before} and process.status == "running"
