"""One long-running process: started, watched, started again with a growing pause, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil
import psycopg2

from scripts.embedded.state import ServiceState
from server.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

FIRST_PAUSE = 0.5  # seconds before a restart, doubled each time up to
LONGEST_PAUSE = 20.0
MAX_DOUBLINGS = 10
STEADY_AFTER = 60.0  # seconds of life after which a death counts as the first again
CHECK_EVERY = 5.0  # seconds
MAX_LOG_BYTES = 10_000_000


@dataclass(frozen=True)
class Start:
    """A command line with the environment and the account that it runs with."""

    argv: Sequence[str]
    env: Mapping[str, str]
    check: Callable[[int], str | None]  # of its process id: None when healthy, else what is wrong
    account: str | None = None


@dataclass
class Service:
    """A process that should always be there. `prepare` is asked anew before each start."""

    name: str
    prepare: Callable[[], Start]
    cwd: Path
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 30.0
    state: ServiceState = field(init=False)
    _start: Start | None = field(init=False, default=None)
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _started: float = field(init=False, default=0.0)
    _due: float = field(init=False, default=0.0)
    _deaths: int = field(init=False, default=0)
    _next_check: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        """Begin as not started."""
        self.state = ServiceState(name=self.name)

    def start(self) -> None:
        """Start the process; what it prints goes to the log."""
        self._started = time.monotonic()
        self._start = self.prepare()
        self._process = spawn(self._start, self.cwd, self.log)
        self._next_check = 0.0
        self.state.status = "starting"
        self.state.pid = self._process.pid
        self.state.problem = None

    def tend(self) -> bool:
        """Look after the process; True when something that `state` shows has changed.

        A fault in looking after one process is shown as its problem: the others go on.
        """
        before = self.state.model_copy()
        now = time.monotonic()
        try:
            self._tend(now)
        except (OSError, StackError, psutil.Error, psycopg2.Error) as error:
            self.state.healthy = False
            self.state.problem = str(error)
            self._due = self._next_check = now + CHECK_EVERY
        return self.state != before

    def _tend(self, now: float) -> None:
        if self._process and self._process.poll() is not None:
            self._died(now)
        elif self._process is None and self.state.status == "starting" and now >= self._due:
            self.state.restarts += 1
            self.start()
        elif self._process and now >= self._next_check:
            self._check(now)
        keep_small(self.log)

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
        assert self._start is not None  # noqa: S101 - a process is only there after start()
        assert self._process is not None  # noqa: S101 - likewise
        self.state.problem = self._start.check(self._process.pid)
        self.state.healthy = self.state.problem is None
        if self.state.healthy and self.state.status == "starting":
            self.state.status = "running"
            self.state.seconds = round(now - self._started, 1)
        if self.state.healthy and now - self._started > STEADY_AFTER:
            self._deaths = 0
        # A process that starts is asked often, for somebody waits for it.
        self._next_check = time.monotonic() + (
            0.2 if self.state.status == "starting" else CHECK_EVERY
        )

    def _died(self, now: float) -> None:
        assert self._process is not None  # noqa: S101 - its caller has looked
        code = self._process.returncode
        kill_group(self._process.pid)
        self._process = None
        if now - self._started > STEADY_AFTER:
            self._deaths = 0
        self._due = now + min(FIRST_PAUSE * 2 ** min(self._deaths, MAX_DOUBLINGS), LONGEST_PAUSE)
        self._deaths += 1
        self.state.status = "starting"
        self.state.healthy = False
        self.state.pid = None
        self.state.problem = f"ended with {code}, starts again"


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


def kill_group(group: int) -> None:
    """End what a process that has ended has left in its group."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def keep_small(log: Path) -> None:
    """Move a log that has grown large aside and go on with an empty one.

    Copied, not renamed: the process goes on writing to the file that it has open, at its end.
    """
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.with_suffix(".log.1").write_bytes(log.read_bytes())
        os.truncate(log, 0)
