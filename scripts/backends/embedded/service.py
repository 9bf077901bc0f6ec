"""One long-running process: started, watched, started again with a growing pause, stopped."""

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

FIRST_PAUSE = 0.5  # seconds before a restart, doubled each time up to
LONGEST_PAUSE = 20.0
MAX_DOUBLINGS = 10
STEADY_AFTER = 60.0  # seconds of life after which a death counts as the first again
CHECK_EVERY = 5.0  # seconds
MAX_LOG_BYTES = 10_000_000
# What a process has to show before it is called healthy.
GOOD_CHECKS = 3  # in a row
GOOD_SECONDS = 2.0  # from the first of them
LIFE_SECONDS = 4.0
LOOP_ENDS = 3  # within
LOOP_WITHIN = 300.0  # seconds


@dataclass(frozen=True)
class Start:
    """A command line with the environment and the account that it runs with."""

    argv: Sequence[str]
    env: Mapping[str, str]
    check: Callable[[int], str | None]  # of its process id: None when healthy, else what is wrong
    account: str | None = None


@dataclass
class Service:
    """A process that should always run. `prepare` is called before each start.

    It is `running` from its first good answer, and healthy when it has answered well a few times in
    a row over a few seconds: a process that answers once and then dies of an error is not well. Nor
    is one healthy that loops, which is to have ended `LOOP_ENDS` times lately, until it has lived
    for `STEADY_AFTER` seconds again.
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
        """Whether the process has been well for long enough to say so."""
        now = time.monotonic()
        return (
            self._good_checks >= GOOD_CHECKS
            and now - self._good_since >= GOOD_SECONDS
            and now - self._started >= LIFE_SECONDS
        )

    def begin(self) -> None:
        """Let the next `tend` start the process."""
        self.state.status = "starting"

    def forget_ends(self) -> None:
        """Count from here: what it took to start the stack is no loop."""
        self.failures = 0
        self._ends.clear()

    def tend(self) -> bool:
        """Look after the process; True when something that `state` shows has changed.

        A fault in looking after one process is shown as its problem: the others go on.
        """
        before = self.state.model_copy()
        now = time.monotonic()
        try:
            self._tend(now)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the others
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
        except Exception as error:  # noqa: BLE001 - tried again, and shown until then
            self.mistake = error if isinstance(error, MistakeError) else None
            self._ended(now, f"could not be started, is tried again: {str(error) or repr(error)}")
            return
        self.mistake = None
        self._next_check = 0.0
        self.state.pid = self._process.pid
        self.state.problem = None

    def stop(self) -> None:
        """Ask the process to end, wait for its grace period, then end it and all it started."""
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
        # A process that starts is asked often, for somebody waits for it.
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
        """The problem of a process that ends again and again; None when it does not."""
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
    """Write a line to the supervisor's own log, unless its disk is full."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def kill_group(group: int) -> None:
    """Kill what a process that has ended left in its process group."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def keep_small(log: Path) -> None:
    """Move a log that has grown large aside and go on with an empty one.

    Copied, not renamed: the process goes on writing to the file that it has open, at its end. On a
    disk that has no room for the copy, the log stays as it is until there is.
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
