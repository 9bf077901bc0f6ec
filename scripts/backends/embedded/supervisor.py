"""Starts the processes of a stack in order, keeps them alive, and stops them in reverse order.

`scripts/stack up` starts it detached, and reads the state that it writes to `state.json`. A signal
handler only records the signal, which the loop then handles.

Once the stack is up, only a signal ends the supervisor. Any other fault, such as a full disk or an
exception while it looks after one process, is shown and tried again, because every process depends
on the supervisor.
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

    # Builds an error from the name of a service, what is wrong with it, and its last lines.
    Failure = Callable[[str, str, str], StackError]

LOOP_SECONDS = 0.1
WRITE_EVERY = 3.0  # seconds, so that a state that was damaged or not written is soon right again
READY_SECONDS = 120.0
START_ATTEMPTS = 5
ONE_SHOT_SECONDS = 1800.0  # a migration of a large database takes its time
ONE_SHOT_ATTEMPTS = 3
ONE_SHOT_PAUSE = 2.0  # seconds
# The stack goes on if a one-shot that is not required has failed. Without bootstrap, the worker may
# wait for a pool that could not be created, so `up` does not wait for the worker as long.
READY_SECONDS_WITHOUT = 30.0


class Stop(Exception):  # noqa: N818 - it is not an error
    """A signal has asked the stack to stop."""


class Supervisor:
    """Runs one embedded stack from its start to its stop."""

    def __init__(self, layout: Layout, fingerprint: str, steps: list[Service | OneShot]) -> None:
        self.layout = layout
        self.running: list[Service] = []
        self.signal: int | None = None
        self.steps = steps
        self.state = StackState(
            pid=os.getpid(),
            fingerprint=fingerprint,
            phase="starting",
            # `up` does what `init` does in Docker, before it starts the supervisor.
            services=[ServiceState(name="init", status="done", healthy=True, seconds=0.0)]
            + [step.state for step in self.steps],
        )
        self._written_at = 0.0
        self._write_error: str | None = None  # why the state could not be written the last time
        self._incomplete = False  # a one-shot that is not required has failed

    def run(self) -> int:
        """Run the stack until a signal comes or the start fails; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
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
            # Nobody else looks after the processes, so end them. The traceback goes to the log.
            self._fail(f"the supervisor failed: {error!r}", StackError.exit_code)
            raise

    def _fail(self, error: str, exit_code: int) -> int:
        say(f"error: {error}")  # the state may not be readable
        self._stop()
        self.state.error = error
        self.state.exit_code = exit_code
        self._show("failed")
        return exit_code

    def _bring_up(self, step: Service | OneShot) -> None:
        with contextlib.suppress(OSError):  # on a full disk, the log of the last start stays
            step.log.write_bytes(b"")
        if isinstance(step, services.OneShot):
            self._finish(step)
            return
        step.begin()
        self.running.append(step)
        self._show("starting")
        self._wait(step, lambda: step.state.status == "running", children.not_healthy)

    def _wait(self, service: Service, done: Callable[[], bool], failure: Failure) -> None:
        """Wait until `done`, while the service is restarted if it fails.

        Returns early if the service fails but bootstrap has failed before it, which may be why.

        Raises:
            MistakeError: the service cannot be started because of a person's mistake.
            StackError: it has failed too often, or was not ready in time.
        """
        seconds = READY_SECONDS_WITHOUT if self._incomplete else READY_SECONDS
        deadline = time.monotonic() + seconds
        while not done():
            self._tend()
            late = service.failures >= START_ATTEMPTS or time.monotonic() > deadline
            if (service.mistake or late) and self._incomplete:
                return  # the supervisor goes on trying to start it
            if service.mistake:
                raise service.mistake
            if late:
                found = service.state.problem or f"no answer within {seconds:.0f} s"
                raise failure(service.name, found, services.tail(service.log))

    def _finish(self, step: OneShot) -> None:
        """Run a one-shot to its end, again if it fails for another reason than a mistake.

        Raises:
            StackError: it failed and is required.
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
            except StackError as timeout:
                error = timeout
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
            StackError: it did not end within `ONE_SHOT_SECONDS`; a second try would take as long.
        """
        began = time.monotonic()
        try:
            offset = step.log.stat().st_size if step.log.exists() else 0
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
        return children.failure(step.name, process.returncode, _read_from(step.log, offset))

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._tend()

    def _tend(self) -> None:
        if self.signal is not None:
            raise Stop
        changed = any([service.tend() for service in self.running])  # noqa: C419 - tend to them all
        if changed or time.monotonic() - self._written_at > WRITE_EVERY:
            self._show(self.state.phase)
        time.sleep(LOOP_SECONDS)

    def _stop(self) -> None:
        for service in reversed(self.running):
            try:
                service.stop()
            except Exception as error:  # noqa: BLE001 - the others have to be stopped nevertheless
                say(f"{service.name} could not be stopped: {error!r}")

    def _show(self, phase: state.Phase) -> None:
        """Set the phase and write the state; if that fails, the loop soon writes it again."""
        self.state.phase = phase
        known = {step.name: step.state for step in self.steps}
        self.state.services = [known.get(each.name, each) for each in self.state.services]
        self._written_at = time.monotonic()
        try:
            state.write(self.layout, self.state)
        except OSError as error:
            if self._write_error != str(error):
                say(f"the state cannot be written, which is tried again: {error}")
            self._write_error = str(error)
        else:
            self._write_error = None

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number


def _read_from(log: Path, offset: int) -> str:
    """The content of a log after its first `offset` bytes, or why it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(offset)
            return file.read().decode(errors="replace")
    except OSError as error:
        return str(error)


def main() -> int:
    """Supervise the stack that the settings name; return 1 if another supervisor already does."""
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
