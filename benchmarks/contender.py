"""The base class of the contenders; `benchmarks/contenders` has a file for each of them."""

from __future__ import annotations

import contextlib
import enum
import json
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import psutil

from scripts.backends.embedded.service import kill_group
from server.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.ground import Ground

STOP_SECONDS = 30
ASK_SECONDS = 120
POLL_SECONDS = 0.2


class Job(enum.StrEnum):
    """What a run does; each contender has one of each kind."""

    noop = "noop"  # writes its first line, then ends
    light = "light"  # 40 steps of fib(10)
    heavy = "heavy"  # 10 steps of fib(33)
    hold = "hold"  # runs until `Ground.hold` is removed
    noise = "noise"  # writes log lines and events; only for the soak


@dataclass(frozen=True)
class Timing:
    """The times of a run that its server or the database has stored; seconds since the epoch."""

    created: float
    first_line: float | None = None
    ended: float | None = None
    failure: str | None = None  # the final state, if that is not success


class Contender(ABC):
    """A system that runs jobs, on the ground that all contenders share.

    `prepare` is called once; then, in each round, `start_server`, `start`, `submit` any number of
    times, and `stop`.
    """

    name: ClassVar[str]
    title: ClassVar[str]  # what the tables call it
    uses_prefect: ClassVar[bool] = True  # whether it needs the Prefect server
    # The interval at which the contender looks for work. A run may be created at any moment of it.
    poll_seconds: ClassVar[float] = 1.0
    jobs: ClassVar[frozenset[Job]] = frozenset(Job) - {Job.noise}
    # Pairs of a database and a statement that deletes the runs that have not ended.
    unfinished: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.processes: dict[str, subprocess.Popen[Any]] = {}
        self.python = ""
        self.python_warnings = ""  # what the workers get as PYTHONWARNINGS

    @classmethod
    def why_not(cls) -> str | None:
        """Return why it cannot be measured on this machine; None if it can."""
        return None

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Return the versions of its packages, by name."""

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Create what it needs once, such as a database or deployments."""

    def start_server(self) -> None:  # noqa: B027 - most have none of their own
        """Start the processes that accept runs but do not execute them."""

    @abstractmethod
    def start(self) -> None:
        """Start the processes that execute runs; do not wait for them."""

    @abstractmethod
    def submit(self, job: Job, count: int) -> list[str]:
        """Create `count` runs at once; return their ids."""

    @abstractmethod
    def timings(self, ids: Sequence[str]) -> dict[str, Timing]:
        """Return what is known of these runs so far."""

    def forget(self) -> None:
        """Delete the unfinished runs of a failed round, with which the next would begin."""
        for name, statement in self.unfinished:
            self.ground.query(name, statement)

    @property
    def workers(self) -> list[int]:
        """The ids of the processes that execute runs."""
        return [
            process.pid for name, process in self.processes.items() if not name.startswith("server")
        ]

    @property
    def servers(self) -> list[int]:
        """The ids of the processes that accept runs, including the Prefect server."""
        own = [process.pid for name, process in self.processes.items() if name.startswith("server")]
        pid = self.ground.server.state.pid if self.uses_prefect else None
        return own + ([pid] if pid else [])

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path | None = None,
        *,
        pipe: bool = False,
    ) -> subprocess.Popen[str]:
        """Start a process; its name begins with `server` if it does not execute runs."""
        filtered = self.python_warnings and not name.startswith("server")
        more = {"PYTHONWARNINGS": self.python_warnings} if filtered else {}
        with self.log(name).open("ab") as output:
            process = subprocess.Popen(
                argv,
                env={**self.ground.environment(), **env, **more},
                cwd=cwd or self.ground.project,
                stdin=subprocess.PIPE if pipe else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else output,
                stderr=output,
                text=True,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def log(self, name: str) -> Path:
        """Return the path of the log of the process `name`."""
        return self.ground.layout.logs / f"{self.name}-{name}.log"

    def ask(self, name: str, question: object) -> Any:
        """Send a line of JSON to the process `name`, which has a pipe; return its answer.

        Raises:
            StackError: It has ended, or was killed because it did not answer in time.
        """
        process = self.processes[name]
        assert process.stdin
        assert process.stdout
        bound = threading.Timer(ASK_SECONDS, process.kill)
        bound.start()
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        finally:
            bound.cancel()
        if not line:
            raise self.failed(f"{name} has ended, or took more than {ASK_SECONDS} s to answer")
        return json.loads(line)

    def stop(self, *names: str) -> None:
        """Stop the processes `names`, or all if none is given, with all their descendants."""
        for name in reversed(names or tuple(self.processes)):
            process = self.processes.pop(name, None)
            if process is None:
                continue
            descendants = _descendants(process)
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            kill_group(process.pid)
            for descendant in descendants:
                with contextlib.suppress(psutil.NoSuchProcess):  # most have ended with it
                    descendant.kill()
            psutil.wait_procs(descendants, timeout=STOP_SECONDS)
            for pipe in (process.stdin, process.stdout):
                # Buffered data can no longer be written.
                with contextlib.suppress(BrokenPipeError):
                    if pipe:
                        pipe.close()

    def until(self, what: str, probe: Callable[[], bool], seconds: float) -> None:
        """Wait until `probe` returns True.

        Raises:
            StackError: It did not in time, or a process of this contender has ended.
        """
        deadline = time.monotonic() + seconds
        while not probe():
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            if dead:
                raise self.failed(f"{', '.join(dead)} ended while waiting for {what}")
            if time.monotonic() > deadline:
                raise self.failed(f"no {what} within {seconds:.0f} s")
            time.sleep(POLL_SECONDS)

    def wait(self, ids: Sequence[str], seconds: float) -> list[Timing]:
        """Wait until these runs have ended; return their timings, in the same order.

        Raises:
            StackError: A run did not end in time, or failed.
        """
        timings: dict[str, Timing] = {}

        def ended() -> bool:
            timings.update(self.timings(ids))
            return all(run_id in timings and timings[run_id].ended for run_id in ids)

        self.until(f"end of {len(ids)} runs", ended, seconds)
        failures = {timing.failure for timing in timings.values() if timing.failure}
        if failures:
            raise self.failed(f"runs ended as {', '.join(sorted(failures))}")
        return [timings[run_id] for run_id in ids]

    def run(self, job: Job, count: int, seconds: float) -> list[Timing]:
        """Create `count` runs at once and wait for them.

        Raises:
            StackError: See `wait`.
        """
        return self.wait(self.submit(job, count), seconds)

    def failed(self, what: str) -> StackError:
        """Return an error of this contender that quotes the ends of its logs."""
        logs = sorted(self.ground.layout.logs.glob(f"{self.name}-*.log"))
        details = [f"{log.name}:\n{_tail(log)}" for log in logs]
        return StackError(f"{self.title}: {what}", details="\n".join(details))


def _tail(log: Path, lines: int = 12) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _descendants(process: subprocess.Popen[Any]) -> list[psutil.Process]:
    if process.poll() is not None:
        return []
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
