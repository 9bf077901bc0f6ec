"""The supervisor alone, with services that are a few lines of Python."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from scripts.backends.embedded import service as services
from scripts.backends.embedded import state, supervisor
from scripts.backends.embedded.layout import Layout
from scripts.backends.embedded.service import Service, Start
from scripts.backends.embedded.services import OneShot
from server import services as descriptions
from server.errors import MistakeError, StackError, report_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scripts.backends.embedded.state import StackState

T = TypeVar("T")
LIVES = "import time; time.sleep(600)"
DIES = "import sys; print('no way'); sys.exit(3)"
NO_ROOM = OSError(28, "No space left on device")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that nobody has to wait for."""
    for name, value in {
        "CHECK_EVERY": 0.02,
        "FIRST_PAUSE": 0.01,
        "LONGEST_PAUSE": 0.05,
        "GOOD_SECONDS": 0.1,
        "LIFE_SECONDS": 0.1,
    }.items():
        monkeypatch.setattr(services, name, value)
    for name, value in {"LOOP_SECONDS": 0.01, "WRITE_EVERY": 0.1, "ONE_SHOT_PAUSE": 0.01}.items():
        monkeypatch.setattr(supervisor, name, value)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The folders of a stack."""
    made = Layout("unit", tmp_path)
    made.logs.mkdir()
    return made


def well(_pid: int) -> str | None:
    """What a check says of a process that is healthy."""
    return None


def start(script: str, check: Callable[[int], str | None] = well) -> Start:
    """A start of a few lines of Python."""
    return Start([sys.executable, "-S", "-c", script], dict(os.environ), check)


def service(layout: Layout, prepare: Callable[[], Start], name: str = "one") -> Service:
    """A service that keeps its log in `layout`."""
    return Service(name, prepare, layout.base, layout.logs / f"{name}.log", grace_seconds=5)


def one_shot(layout: Layout, name: str, script: str) -> OneShot:
    """A one-shot that keeps its log in `layout`."""
    log = layout.logs / f"{name}.log"
    required = descriptions.named(name).required
    return OneShot(name, lambda: start(script), layout.base, log, required)


def reports(error: StackError) -> str:
    """A script that ends as `server.errors.exit_with` does in a process of the supervisor's."""
    said = f"error: {error}\n{report_line(error)}"
    return f"import sys; print({said!r}); sys.exit({error.exit_code})"


class Supervised:
    """A supervisor in a thread, which is asked to stop as a signal would."""

    def __init__(self, layout: Layout, *steps: Service | OneShot) -> None:
        """Start it."""
        self.layout = layout
        self.supervisor = supervisor.Supervisor(layout, "", list(steps))
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.code = self.supervisor.run()

    def told(self, done: Callable[[StackState], bool], what: str) -> StackState:
        """Wait until what the supervisor has written is as it should be."""
        return until(what, lambda: _if(state.read(self.layout), done))

    @property
    def alive(self) -> bool:
        """Whether the supervisor goes on."""
        return self._thread.is_alive()

    def end(self) -> int | None:
        """Ask it to stop; its exit code."""
        self.supervisor.signal = signal.SIGTERM
        self._thread.join(30)
        assert not self.alive
        return self.code


def _if(found: StackState | None, done: Callable[[StackState], bool]) -> StackState | None:
    return found if found and done(found) else None


def until(what: str, probe: Callable[[], T | None], seconds: float = 60) -> T:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := probe():
            return found
        time.sleep(0.01)
    raise AssertionError(f"no {what} within {seconds} s")


@pytest.fixture
def supervised(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Supervised]]:
    """Starts a supervisor; all are stopped in the end."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # only the main thread may
    made: list[Supervised] = []

    def make(*steps: Service | OneShot) -> Supervised:
        made.append(Supervised(layout, *steps))
        return made[-1]

    yield make
    for each in made:
        each.end()


def running(found: StackState) -> bool:
    return found.phase == "running" and all(each.healthy for each in found.services)


def pid_of(found: StackState, name: str = "one") -> int:
    pid = next(each.pid for each in found.services if each.name == name)
    assert pid
    return pid


class TestFullDisk:
    def test_a_state_that_cannot_be_written_ends_nothing_and_is_written_later(
        self,
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
        self, layout: Layout, supervised: Callable[..., Supervised]
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
        self, layout: Layout, supervised: Callable[..., Supervised]
    ) -> None:
        with small_disk(layout.base):
            layout.logs.mkdir()
            its = supervised(service(layout, lambda: start(LIVES)))
            before = its.told(running, "running stack")
            fill(layout.base)
            os.kill(pid_of(before), signal.SIGKILL)
            until("another process", lambda: _another(its, pid_of(before)))
            assert its.alive
            (layout.base / "filling").unlink()
            its.told(lambda it: it.services[1].pid not in {None, pid_of(before)}, "its new state")
            assert its.end() == 0

    def test_a_log_that_cannot_be_moved_aside_stays(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


class TestState:
    @pytest.mark.parametrize("damage", ["", "{", '{"pid": "many"}', "\x00\x01", None])
    def test_what_was_damaged_is_soon_right_again(
        self, layout: Layout, supervised: Callable[..., Supervised], damage: str | None
    ) -> None:
        its = supervised(service(layout, lambda: start(LIVES)))
        its.told(running, "running stack")
        if damage is None:
            layout.state.unlink()
        else:
            layout.state.write_text(damage)
        its.told(running, "state that is right again")

    def test_a_read_of_what_is_damaged_says_so(self, layout: Layout) -> None:
        assert not state.damaged(layout)
        for text in ("", "[]", json.dumps({"pid": 1, "phase": "dancing"})):
            layout.state.write_text(text)
            assert state.read(layout) is None
            assert state.damaged(layout)

    def test_the_lock_is_closed_to_others_and_names_who_holds_it(self, layout: Layout) -> None:
        layout.lock.touch(mode=0o644)
        assert not state.alive(layout)
        with state.locked(layout):
            assert layout.lock.stat().st_mode & 0o777 == 0o600
            assert state.alive(layout)
            assert state.holder(layout) == os.getpid()
        assert state.holder(layout) is None


class TestSteadiness:
    def test_one_good_answer_is_not_enough(
        self, layout: Layout, supervised: Callable[..., Supervised]
    ) -> None:
        """As of a worker whose health server answers before the worker dies of an error."""
        its = supervised(service(layout, lambda: start(DIES)))
        failed = its.told(lambda it: it.phase == "failed", "failed start")
        assert failed.error
        assert "ended with 3" in failed.error
        assert "no way" in failed.error
        assert "do: " in failed.error

    def test_a_service_that_loops_is_not_healthy_and_its_log_is_named(
        self, layout: Layout, supervised: Callable[..., Supervised]
    ) -> None:
        its = supervised(service(layout, lambda: start(LIVES)))
        found = its.told(running, "running stack")
        for _ in range(services.LOOP_ENDS):
            before = pid_of(found)
            os.kill(before, signal.SIGKILL)
            found = its.told(
                lambda it, before=before: (  # type: ignore[misc]
                    it.services[1].status == "running" and it.services[1].pid != before
                ),
                "another process",
            )
        one = its.supervisor.running[0]
        until("steady process", lambda: one.steady)
        shown = its.told(lambda it: "in the last 5 minutes" in str(it.services[1].problem), "loop")
        assert not shown.services[1].healthy
        assert "scripts/stack logs one" in str(shown.services[1].problem)

    def test_a_first_start_that_fails_is_tried_again(
        self, layout: Layout, supervised: Callable[..., Supervised]
    ) -> None:
        scripts = iter([DIES, DIES, LIVES])
        its = supervised(service(layout, lambda: start(next(scripts))))
        found = its.told(running, "running stack")
        assert found.services[1].restarts == 2

    def test_a_mistake_ends_the_start_at_once(
        self, layout: Layout, supervised: Callable[..., Supervised]
    ) -> None:
        asked: list[bool] = []

        def prepare() -> Start:
            asked.append(True)
            raise MistakeError("no such user", do="make one")

        its = supervised(service(layout, prepare))
        failed = its.told(lambda it: it.phase == "failed", "failed start")
        assert (failed.exit_code, asked) == (2, [True])
        assert its.end() == 2


class TestBootstrap:
    def test_one_that_finds_a_mistake_keeps_nobody_down(
        self, layout: Layout, supervised: Callable[..., Supervised]
    ) -> None:
        wrong = reports(MistakeError("prefect.yaml line 3: wrong", do="correct it"))
        its = supervised(
            one_shot(layout, "bootstrap", wrong), service(layout, lambda: start(LIVES))
        )
        found = its.told(lambda it: it.phase == "running", "running stack")
        shown = {each.name: each for each in found.services}
        assert shown["one"].healthy
        assert (shown["bootstrap"].status, shown["bootstrap"].exit_code) == ("failed", 2)
        said = "prefect.yaml line 3: wrong\n  do:       correct it"
        assert shown["bootstrap"].problem == said

    def test_nobody_waits_long_for_a_worker_whose_pool_could_not_be_made(
        self,
        layout: Layout,
        supervised: Callable[..., Supervised],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(supervisor, "READY_SECONDS_WITHOUT", 0.2)
        its = supervised(
            one_shot(layout, "bootstrap", "import sys; sys.exit(2)"),
            service(layout, lambda: start(LIVES, lambda _pid: "answers 404")),
        )
        found = its.told(lambda it: it.phase == "running", "running stack")
        assert found.services[-1].problem == "answers 404"

    def test_a_fault_that_passes_is_tried_again(
        self, layout: Layout, supervised: Callable[..., Supervised]
    ) -> None:
        once = (
            "import pathlib, sys; tried = pathlib.Path('tried'); "
            "sys.exit(0 if tried.exists() else tried.touch() or 1)"
        )
        its = supervised(one_shot(layout, "bootstrap", once))
        its.told(running, "running stack")

    def test_a_migration_that_fails_ends_the_start(
        self, layout: Layout, supervised: Callable[..., Supervised]
    ) -> None:
        newer = reports(MistakeError("the database is newer"))
        its = supervised(one_shot(layout, "migrate", newer), service(layout, lambda: start(LIVES)))
        failed = its.told(lambda it: it.phase == "failed", "failed start")
        assert (failed.error, failed.exit_code) == ("the database is newer", 2)


def test_a_service_that_cannot_be_stopped_leaves_the_others_stopped(
    layout: Layout, supervised: Callable[..., Supervised], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (service(layout, lambda: start(LIVES), name) for name in ("one", "two"))
    its = supervised(one, two)
    found = its.told(running, "running stack")
    stop = two.stop

    def fails() -> None:
        stop()
        raise StackError("no way")

    monkeypatch.setattr(two, "stop", fails)
    assert its.end() == 0
    assert not Path(f"/proc/{pid_of(found)}").exists()


def _raises(*_: object) -> None:
    raise NO_ROOM


def _another(its: Supervised, before: int) -> bool:
    found = its.supervisor.running[0].state
    return found.pid not in {None, before} and found.status == "running"


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 1 MiB over `folder`."""
    argv = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    mounted = subprocess.run(argv, check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no room in the file system of `folder`."""
    with (folder / "filling").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
