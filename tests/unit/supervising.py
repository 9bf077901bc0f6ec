"""A supervisor in a thread, with services that are a few lines of Python."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, TypeVar

import pytest

from scripts.backends.embedded import service as services
from scripts.backends.embedded import state, supervisor
from scripts.backends.embedded.layout import Layout
from scripts.backends.embedded.service import Service, Start
from scripts.backends.embedded.services import OneShot
from server import services as descriptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scripts.backends.embedded.state import StackState

T = TypeVar("T")
LIVES = "import time; time.sleep(600)"
PAUSES = {
    services: {
        "CHECK_EVERY": 0.02,
        "FIRST_PAUSE": 0.01,
        "LONGEST_PAUSE": 0.05,
        "GOOD_SECONDS": 0.1,
        "LIFE_SECONDS": 0.1,
    },
    supervisor: {"LOOP_SECONDS": 0.01, "WRITE_EVERY": 0.1, "ONE_SHOT_PAUSE": 0.01},
}


def well(_pid: int) -> str | None:
    """Answer what a check answers about a healthy process."""
    return None


def start(script: str, check: Callable[[int], str | None] = well) -> Start:
    return Start([sys.executable, "-S", "-c", script], dict(os.environ), check)


class Impatient(Service):
    """A service that is asked for its health every few milliseconds while it starts, too."""

    def _check(self, now: float) -> None:
        super()._check(now)
        self._next_check = min(self._next_check, now + services.CHECK_EVERY)


def service(
    layout: Layout,
    prepare: Callable[[], Start],
    name: str = "one",
    kind: type[Service] = Impatient,
) -> Service:
    """Make a service of `kind`: a plain `Service` where a process has time to die of itself."""
    return kind(name, prepare, layout.base, layout.logs / f"{name}.log", grace_seconds=5)


def one_shot(layout: Layout, name: str, script: str) -> OneShot:
    log = layout.logs / f"{name}.log"
    required = descriptions.named(name).required
    return OneShot(name, lambda: start(script), layout.base, log, required)


class Supervised:
    """A supervisor that runs in a thread and is told to stop as a signal would tell it."""

    def __init__(self, layout: Layout, *steps: Service | OneShot) -> None:
        self.layout = layout
        self.supervisor = supervisor.Supervisor(layout, "", list(steps))
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.code = self.supervisor.run()

    def told(self, done: Callable[[StackState], bool], what: str) -> StackState:
        """Wait until the supervisor has written a state for which `done` is true; return it."""

        def probe() -> StackState | None:
            written = state.read(self.layout)
            return written if written and done(written) else None

        return until(what, probe)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> int | None:
        """Stop the supervisor and return its exit code."""
        self.supervisor.signal = signal.SIGTERM
        self._thread.join(30)
        assert not self.alive
        return self.code


def until(what: str, probe: Callable[[], T | None], seconds: float = 60) -> T:
    """Return the first true answer of `probe`; the test fails where none comes in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := probe():
            return answer
        time.sleep(0.01)
    raise AssertionError(f"no {what} within {seconds} s")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The folders of a stack, of which only the one for logs exists yet."""
    layout = Layout("unit", tmp_path)
    layout.logs.mkdir()
    return layout


@pytest.fixture
def supervised(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Supervised]]:
    """Starts a supervisor of the given steps; every supervisor is stopped after the test.

    Its pauses are cut to fractions of a second.
    """
    for module, pauses in PAUSES.items():
        for name, seconds in pauses.items():
            monkeypatch.setattr(module, name, seconds)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # only the main thread may call it
    supervisors: list[Supervised] = []

    def make(*steps: Service | OneShot) -> Supervised:
        supervisors.append(Supervised(layout, *steps))
        return supervisors[-1]

    yield make
    for started in supervisors:
        started.end()


def running(written: StackState) -> bool:
    return written.phase == "running" and all(each.healthy for each in written.services)


def pid_of(written: StackState, name: str = "one") -> int:
    pid = next(each.pid for each in written.services if each.name == name)
    assert pid
    return pid
