"""Starts the processes of a stack in order, keeps them alive, and stops them in the other order.

Runs detached; `scripts/stack up` starts it and reads what it writes to `state.json`. A signal is
only noted when it comes and handled in the loop.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from scripts.embedded import layout as layouts
from scripts.embedded import services, state
from scripts.embedded.service import kill_group, spawn
from scripts.embedded.state import ServiceState, StackState
from server import settings
from server.errors import StackError

if TYPE_CHECKING:
    from types import FrameType

    from scripts.embedded.layout import Layout
    from scripts.embedded.service import Service
    from scripts.embedded.services import OneShot
    from server.settings import Settings

LOOP_SECONDS = 0.1
READY_SECONDS = 120.0
ONE_SHOT_SECONDS = 1800.0  # a migration of a large database takes its time


class Stop(Exception):  # noqa: N818 - no error: somebody asked for it
    """A signal asks the stack to stop."""


class Supervisor:
    """The life of one embedded stack."""

    def __init__(self, layout: Layout, values: Settings) -> None:
        """Know the processes of the stack; nothing is started."""
        self.layout = layout
        self.running: list[Service] = []
        self.signal: int | None = None
        self.steps = services.of(layout, values)
        self.state = StackState(
            pid=os.getpid(),
            fingerprint=services.fingerprint(values),
            phase="starting",
            services=[ServiceState(name="init", status="done", healthy=True, seconds=0.0)]
            + [step.state for step in self.steps],
        )

    def run(self) -> int:
        """Live until a signal comes or a start fails; the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)
        try:
            self._show("starting")
            for step in self.steps:
                self._bring_up(step)
            self._show("running")
            while True:
                self._tend()
        except Stop:
            self._show("stopping")
            self._stop()
            self.layout.state.unlink()
            return 0
        except StackError as error:
            return self._fail(str(error), error.exit_code)
        except Exception as error:
            # Nobody else looks after the processes: end them, and let the log have the traceback.
            self._fail(f"the supervisor failed: {error!r}", StackError.exit_code)
            raise

    def _fail(self, error: str, exit_code: int) -> int:
        self._stop()
        self.state.error = error
        self.state.exit_code = exit_code
        self._show("failed")
        return exit_code

    def _bring_up(self, step: Service | OneShot) -> None:
        step.log.write_bytes(b"")
        if isinstance(step, services.OneShot):
            self._finish(step)
            return
        step.start()
        self.running.append(step)
        self._show("starting")
        deadline = time.monotonic() + READY_SECONDS
        while not step.state.healthy:
            self._tend()
            if step.state.pid is None or time.monotonic() > deadline:
                raise StackError(
                    f"{step.name} did not become healthy",
                    expected=f"a healthy process within {READY_SECONDS:.0f} s",
                    found=step.state.problem or "no answer",
                    details=services.tail(step.log),
                )

    def _finish(self, step: OneShot) -> None:
        began = time.monotonic()
        step.state.status = "starting"
        self._show("starting")
        process = spawn(step.prepare(), step.cwd, step.log)
        step.state.pid = process.pid
        try:
            while process.poll() is None:
                self._tend()
                if time.monotonic() - began > ONE_SHOT_SECONDS:
                    raise StackError(
                        f"{step.name} did not end",
                        expected=f"its end within {ONE_SHOT_SECONDS:.0f} s",
                        found="it still runs",
                        details=services.tail(step.log),
                    )
        finally:
            kill_group(process.pid)
            process.wait()
        step.state.pid = None
        step.state.seconds = round(time.monotonic() - began, 1)
        step.state.healthy = process.returncode == 0
        step.state.status = "done" if step.state.healthy else "failed"
        if process.returncode:
            raise services.failure(step.name, process.returncode, step.log)
        self._show("starting")

    def _tend(self) -> None:
        if self.signal is not None:
            raise Stop
        if any([service.tend() for service in self.running]):  # noqa: C419 - each is tended to
            self._show(self.state.phase)
        time.sleep(LOOP_SECONDS)

    def _stop(self) -> None:
        for service in reversed(self.running):
            service.stop()

    def _show(self, phase: state.Phase) -> None:
        self.state.phase = phase
        known = {step.name: step.state for step in self.steps}
        self.state.services = [known.get(each.name, each) for each in self.state.services]
        state.write(self.layout, self.state)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number


def main() -> int:
    """Supervise the stack that the settings name, unless another supervisor does."""
    values = settings.load()
    layout = layouts.of(values)
    try:
        with state.locked(layout):
            return Supervisor(layout, values).run()
    except BlockingIOError:
        sys.stderr.write("another supervisor has this stack\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
