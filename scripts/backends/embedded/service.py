"""Keeps one long-running process alive: starts, checks, restarts and stops it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scripts.backends.embedded.state import ServiceState
from server.errors import MistakeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

FIRST_PAUSE = 0.5  # seconds before a restart, doubled each time up to LONGEST_PAUSE
LONGEST_PAUSE = 20.0  # seconds
MAX_DOUBLINGS = 10
STEADY_AFTER = 60.0  # seconds of life after which the next death counts as the first again
CHECK_EVERY = 5.0  # seconds
MAX_LOG_BYTES = 10_000_000
# A process is called healthy after this many good checks in a row, this long after the first of
# them, and this long after its start.
GOOD_CHECKS = 3
GOOD_SECONDS = 2.0
LIFE_SECONDS = 4.0
# A process that has ended this often within this time loops.
LOOP_ENDS = 3
LOOP_WITHIN = 300.0  # seconds


@dataclass(frozen=True)
class Start:
    """How to start a process."""

    argv: Sequence[str]
    env: Mapping[str, str]
    # Called with the process id: returns None if the process is healthy, otherwise what is wrong.
    check: Callable[[int], str | None]
    account: str | None = None  # None: the user of the supervisor


@dataclass
class Service:
    """A process that should always run. `prepare` is called before each start.

    Its status is `running` from the first good check. It is healthy after several good checks over
    a few seconds, since a process may answer once and then die of an error. One that has ended
    `LOOP_ENDS` times within `LOOP_WITHIN` is not healthy until it has lived for `STEADY_AFTER`.
    """

    name: str
    prepare: Callable[[], Start]
    cwd: Path
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 30.0
    state: ServiceState = field(init=False)
    mistake: MistakeError | None = field(init=False, default=None)  # why it cannot be started
    failures: int = field(init=False, default=0)  # ends and failed starts since it was last steady
    # Times are on the monotonic clock, in seconds.
    _start: Start | None = field(init=False, default=None)
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _started: float = field(init=False, default=0.0)
    _due: float = field(init=False, default=0.0)
    _next_check: float = field(init=False, default=0.0)
    _next_rotation: float = field(init=False, default=0.0)
    _good_since: float = field(init=False, default=0.0)
    _good_checks: int = field(init=False, default=0)
    _ends: list[float] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.state = ServiceState(name=self.name)

    @property
    def steady(self) -> bool:
        """Whether the process has been well for long enough to call it healthy."""
        now = time.monotonic()
        return (
            self._good_checks >= GOOD_CHECKS
            and now - self._good_since >= GOOD_SECONDS
            and now - self._started >= LIFE_SECONDS
        )

    def begin(self) -> None:
        """Mark the process as one to start, which the next `tend` does."""
        self.state.status = "starting"

    def forget_ends(self) -> None:
        """Forget the ends so far: those during the start of the stack are not a loop."""
        self.failures = 0
        self._ends.clear()

    def tend(self) -> bool:
        """Start, check or restart the process if it is time; return whether `state` has changed.

        Any exception is shown as the problem of this process, so that the others are not affected.
        """
        before = self.state.model_copy()
        now = time.monotonic()
        try:
            self._tend(now)
        except Exception as error:  # noqa: BLE001 - it must not end the supervisor
            self._not_good(str(error) or repr(error))
            self._next_check = now + CHECK_EVERY
        return self.state != before

    def _tend(self, now: float) -> None:
        if self._process and self._process.poll() is not None:
            code = self._process.returncode
            kill_group(self._process.pid)
            self._ended(now, f"ended with {code}, starts again")
        elif self._process is None and self.state.status == "starting" and now >= self._due:
            self._try_to_start(now)
        elif self._process and now >= self._next_check:
            self._check(now)
        if now >= self._next_rotation:
            self._next_rotation = now + CHECK_EVERY
            keep_small(self.log)

    def _try_to_start(self, now: float) -> None:
        if self._started:
            self.state.restarts += 1
        self._started = now
        try:
            self._start = self.prepare()
            self._process = spawn(self._start, self.cwd, self.log)
        except Exception as error:  # noqa: BLE001 - shown until the next try
            self.mistake = error if isinstance(error, MistakeError) else None
            self._ended(now, f"could not be started, is tried again: {str(error) or repr(error)}")
            return
        self.mistake = None
        self._next_check = 0.0
        self.state.pid = self._process.pid
        self.state.problem = None

    def stop(self) -> None:
        """Ask the process to end, and kill it after its grace period, with all that it started."""
        process, self._process = self._process, None
        if process is None:
            self.state.status = "stopped"
            return
        group = process.pid  # it leads a session of its own
        process.send_signal(self.stop_signal)
        try:
            process.wait(self.grace_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        kill_group(group)
        self.state = ServiceState(name=self.name, status="stopped", restarts=self.state.restarts)

    def _check(self, now: float) -> None:
        assert self._start is not None  # noqa: S101 - a process is only there after a start
        assert self._process is not None  # noqa: S101 - likewise
        problem = self._start.check(self._process.pid)
        if problem is None:
            self._good(now)
        else:
            self._not_good(problem)
        # Checked often while it starts, since somebody is waiting for it.
        pause = 0.2 if self.state.status == "starting" else CHECK_EVERY if self.steady else 0.5
        self._next_check = time.monotonic() + pause

    def _good(self, now: float) -> None:
        if self.state.status == "starting":
            self.state.status = "running"
            self.state.seconds = round(now - self._started, 1)
        self._good_checks += 1
        self._good_since = self._good_since or now
        if now - self._started > STEADY_AFTER:
            self.failures = 0
        self.state.problem = self._loop(now)
        self.state.healthy = self.steady and self.state.problem is None

    def _loop(self, now: float) -> str | None:
        """The problem of a process that ends again and again; None if it does not."""
        self._ends = [end for end in self._ends if now - end < LOOP_WITHIN]
        if len(self._ends) < LOOP_ENDS or now - self._started > STEADY_AFTER:
            return None
        minutes = f"{LOOP_WITHIN / 60:.0f} minutes"
        times = f"ended {len(self._ends)} times in the last {minutes}"
        return f"{times}, see: scripts/stack logs {self.name}"

    def _not_good(self, problem: str) -> None:
        self._good_checks = 0
        self._good_since = 0.0
        self.state.healthy = False
        self.state.problem = problem

    def _ended(self, now: float, problem: str) -> None:
        self._process = None
        if now - self._started > STEADY_AFTER:
            self.failures = 0
        self._due = now + min(FIRST_PAUSE * 2 ** min(self.failures, MAX_DOUBLINGS), LONGEST_PAUSE)
        self.failures += 1
        self._ends.append(now)
        loop = self._loop(now)
        self._not_good(f"{problem}; {loop}" if loop else problem)
        self.state.status = "starting"
        self.state.pid = None


def spawn(start: Start, cwd: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a process that leads a session of its own and writes to `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            start.argv,
            env=start.env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=start.account,
            group=start.account,
            extra_groups=[] if start.account else None,
        )


def say(text: str) -> None:
    """Write a line to the supervisor's own log, or nothing on a full disk."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def kill_group(group: int) -> None:
    """Kill what is left of the process group of a process that has ended."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def keep_small(log: Path) -> None:
    """Move the content of a log of more than `MAX_LOG_BYTES` aside, and truncate the log.

    It is copied, not renamed, because the process goes on writing to the file that it has open. If
    the disk has no room for the copy, the log stays as it is.
    """
    try:
        if not log.exists() or log.stat().st_size <= MAX_LOG_BYTES:
            return
        new = log.with_suffix(".log.new")
        try:
            shutil.copyfile(log, new)
            new.replace(log.with_suffix(".log.1"))
        finally:
            new.unlink(missing_ok=True)
        os.truncate(log, 0)
    except OSError as error:
        say(f"{log.name} could not be kept small: {error}")
