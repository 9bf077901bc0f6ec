"""Starts the processes of a stack in order, keeps them alive, and stops them in reverse order.

Runs detached; `scripts/stack up` starts it and reads what it writes to `state.json`. A signal is
only noted when it comes and handled in the loop.

Once the stack is up, nothing but a signal ends the supervisor: a disk that is full, or any fault in
looking after one process, is shown and tried again, because everything else depends on it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from scripts.backends import children
from scripts.backends.embedded import layout as layouts
from scripts.backends.embedded import services, state
from scripts.backends.embedded.service import kill_group, say, spawn
from scripts.backends.embedded.state import ServiceState, StackState
from server import settings
from server.errors import MistakeError, StackError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

    from scripts.backends.embedded.layout import Layout
    from scripts.backends.embedded.service import Service
    from scripts.backends.embedded.services import OneShot

    # Of the name of a service, what was found, and its last lines.
    Failure = Callable[[str, str, str], StackError]

LOOP_SECONDS = 0.1
TELL_EVERY = 3.0  # seconds: a state that was damaged, or could not be written, is soon right again
READY_SECONDS = 120.0
START_ATTEMPTS = 5
ONE_SHOT_SECONDS = 1800.0  # a migration of a large database takes its time
ONE_SHOT_ATTEMPTS = 3
ONE_SHOT_PAUSE = 2.0  # seconds
# The stack lives without the success of a one-shot that is not required. Without bootstrap's, the
# worker may wait for a pool that could not be made, and nobody waits for it long.
READY_SECONDS_WITHOUT = 30.0


class Stop(Exception):  # noqa: N818 - no error: somebody asked for it
    """A signal asks the stack to stop."""


class Supervisor:
    """The life of one embedded stack."""

    def __init__(self, layout: Layout, fingerprint: str, steps: list[Service | OneShot]) -> None:
        self.layout = layout
        self.running: list[Service] = []
        self.signal: int | None = None
        self.steps = steps
        self.state = StackState(
            pid=os.getpid(),
            fingerprint=fingerprint,
            phase="starting",
            # `up` has done what `init` does in Docker before it started the supervisor.
            services=[ServiceState(name="init", status="done", healthy=True, seconds=0.0)]
            + [step.state for step in self.steps],
        )
        self._told = 0.0
        self._untold: str | None = None  # why the state could not be written the last time
        self._incomplete = False  # a one-shot that is not required has failed

    def run(self) -> int:
        """Live until a signal comes or a start fails; the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)
        try:
            self._show("starting")
            for step in self.steps:
                self._bring_up(step)
            for service in self.running:
                self._wait(service, lambda each=service: each.steady, children.not_steady)  # type: ignore[misc]
            for service in self.running:
                service.forget_ends()
            self._show("running")
            while True:
                self._tend()
        except Stop:
            self._show("stopping")
            self._stop()
            with contextlib.suppress(OSError):
                self.layout.state.unlink(missing_ok=True)
            return 0
        except StackError as error:
            return self._fail(str(error), error.exit_code)
        except Exception as error:
            # Nobody else looks after the processes: end them, and let the log have the traceback.
            self._fail(f"the supervisor failed: {error!r}", StackError.exit_code)
            raise

    def _fail(self, error: str, exit_code: int) -> int:
        say(f"error: {error}")  # for whoever cannot read it in the state
        self._stop()
        self.state.error = error
        self.state.exit_code = exit_code
        self._show("failed")
        return exit_code

    def _bring_up(self, step: Service | OneShot) -> None:
        with contextlib.suppress(OSError):  # on a full disk the log of the last start stays
            step.log.write_bytes(b"")
        if isinstance(step, services.OneShot):
            self._finish(step)
            return
        step.begin()
        self.running.append(step)
        self._show("starting")
        self._wait(step, lambda: step.state.status == "running", children.not_healthy)

    def _wait(self, service: Service, done: Callable[[], bool], failure: Failure) -> None:
        """Wait for a service that starts. What fails is tried again a few times.

        Raises:
            MistakeError: it cannot be started as things are set up.
            StackError: it has failed too often, or not come up in time.
        """
        seconds = READY_SECONDS_WITHOUT if self._incomplete else READY_SECONDS
        deadline = time.monotonic() + seconds
        while not done():
            self._tend()
            late = service.failures >= START_ATTEMPTS or time.monotonic() > deadline
            if (service.mistake or late) and self._incomplete:
                return  # it is tried again as long as the stack is up
            if service.mistake:
                raise service.mistake
            if late:
                found = service.state.problem or f"no answer within {seconds:.0f} s"
                raise failure(service.name, found, services.tail(service.log))

    def _finish(self, step: OneShot) -> None:
        """Run a one-shot to its end, with retries unless a person's mistake makes it fail.

        Raises:
            StackError: it failed, and the stack cannot be without it.
        """
        began = time.monotonic()
        step.state.status = "starting"
        self._show("starting")
        error: StackError | None = None
        for attempt in range(ONE_SHOT_ATTEMPTS):
            if attempt:
                say(f"{step.name} failed and is tried again: {error}")
                self._pause(ONE_SHOT_PAUSE)
            try:
                error = self._once(step)
            except StackError as lasting:
                error = lasting
                break
            if error is None or isinstance(error, MistakeError):
                break
        step.state.pid = None
        step.state.seconds = round(time.monotonic() - began, 1)
        step.state.healthy = error is None
        step.state.status = "failed" if error else "done"
        if error:
            step.state.problem = str(error)
            step.state.exit_code = error.exit_code
            if step.required:
                raise error
            self._incomplete = True
        self._show("starting")

    def _once(self, step: OneShot) -> StackError | None:
        """Run a one-shot once; return its error if it failed.

        Raises:
            StackError: it did not end in time, and another try would take as long.
        """
        began = time.monotonic()
        try:
            said_before = step.log.stat().st_size if step.log.exists() else 0
            process = spawn(step.prepare(), step.cwd, step.log)
        except StackError as error:
            return error
        except OSError as error:
            return StackError(f"{step.name} could not be started", found=str(error))
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
        if process.returncode == 0:
            return None
        return children.failure(step.name, process.returncode, _from(step.log, said_before))

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._tend()

    def _tend(self) -> None:
        if self.signal is not None:
            raise Stop
        changed = any([service.tend() for service in self.running])  # noqa: C419 - each is tended to
        if changed or time.monotonic() - self._told > TELL_EVERY:
            self._show(self.state.phase)
        time.sleep(LOOP_SECONDS)

    def _stop(self) -> None:
        for service in reversed(self.running):
            try:
                service.stop()
            except Exception as error:  # noqa: BLE001 - the others have to be stopped all the same
                say(f"{service.name} could not be stopped: {error!r}")

    def _show(self, phase: state.Phase) -> None:
        """Write the state. Where that fails it stays in memory, and is written a little later."""
        self.state.phase = phase
        known = {step.name: step.state for step in self.steps}
        self.state.services = [known.get(each.name, each) for each in self.state.services]
        self._told = time.monotonic()
        try:
            state.write(self.layout, self.state)
        except OSError as error:
            if self._untold != str(error):
                say(f"the state cannot be written, which is tried again: {error}")
            self._untold = str(error)
        else:
            self._untold = None

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number


def _from(log: Path, offset: int) -> str:
    """What was written to a log after its first `offset` bytes."""
    try:
        with log.open("rb") as file:
            file.seek(offset)
            return file.read().decode(errors="replace")
    except OSError as error:
        return str(error)


def main() -> int:
    """Supervise the stack that the settings name, unless another supervisor does."""
    values = settings.load()
    layout = layouts.of(values)
    try:
        with state.locked(layout):
            steps = services.of(layout, values)
            return Supervisor(layout, services.fingerprint(values), steps).run()
    except BlockingIOError:
        sys.stderr.write("another supervisor has this stack\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
