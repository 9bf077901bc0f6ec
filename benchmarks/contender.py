"""What every contender can do; `benchmarks/contenders` holds one file for each."""

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

    noop = "noop"  # notes its first line, then ends
    light = "light"  # 40 steps of fib(10)
    heavy = "heavy"  # 10 steps of fib(33)
    hold = "hold"  # goes on until `Ground.hold` is gone
    noise = "noise"  # log lines and events; only where the soak runs


@dataclass(frozen=True)
class Timing:
    """One run as its own server, or the database, has it; seconds since the epoch."""

    created: float
    first_line: float | None = None
    ended: float | None = None
    failure: str | None = None  # the state in which it ended, when that is not success


class Contender(ABC):
    """Something that runs jobs, on the ground that all share.

    Lives through `prepare` once, then for each round `start_server`, `start`, any number of
    `submit`, `stop`.
    """

    name: ClassVar[str]
    title: ClassVar[str]  # what the tables call it
    uses_prefect: ClassVar[bool] = True  # whether it needs the Prefect server
    # A run may meet any moment of the interval in which the contender looks for work.
    poll_seconds: ClassVar[float] = 1.0
    jobs: ClassVar[frozenset[Job]] = frozenset(Job) - {Job.noise}
    # Database and statement: what takes away the runs that have not ended.
    unfinished: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(self, ground: Ground) -> None:
        """Know the ground; nothing is started."""
        self.ground = ground
        self.processes: dict[str, subprocess.Popen[Any]] = {}
        self.python = ""
        self.python_warnings = ""  # what the workers get as PYTHONWARNINGS

    @classmethod
    def why_not(cls) -> str | None:
        """Why it cannot take part here; None when it can."""
        return None

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """What it is made of."""

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Make what it needs once: a database, deployments."""

    def start_server(self) -> None:  # noqa: B027 - most have none of their own
        """Start what takes orders but runs nothing."""

    @abstractmethod
    def start(self) -> None:
        """Start what runs the jobs; returns at once."""

    @abstractmethod
    def submit(self, job: Job, count: int) -> list[str]:
        """Ask for `count` runs at once; their ids."""

    @abstractmethod
    def timings(self, ids: Sequence[str]) -> dict[str, Timing]:
        """What is known of these runs by now."""

    def forget(self) -> None:
        """Leave nothing to do of a round that has failed: the next one would begin with it."""
        for name, statement in self.unfinished:
            self.ground.query(name, statement)

    @property
    def workers(self) -> list[int]:
        """The ids of the processes that `start` has started."""
        return [each.pid for name, each in self.processes.items() if not name.startswith("server")]

    @property
    def servers(self) -> list[int]:
        """The ids of the processes that take its orders, the Prefect server included."""
        own = [each.pid for name, each in self.processes.items() if name.startswith("server")]
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
        """Start a process of this contender; `server...` for one that runs no jobs."""
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
        """Where the process `name` writes."""
        return self.ground.layout.logs / f"{self.name}-{name}.log"

    def ask(self, name: str, question: object) -> Any:
        """A line to the process `name`, which was started with a pipe; its answer, as JSON.

        Raises:
            StackError: it has ended, or gave no answer in time and was ended for it.
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
        """Stop the processes `names`, all when none is given, with whatever they have started."""
        for name in reversed(names or tuple(self.processes)):
            process = self.processes.pop(name, None)
            if process is None:
                continue
            below = _below(process)
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            kill_group(process.pid)
            for each in below:
                with contextlib.suppress(psutil.NoSuchProcess):  # most have ended with it
                    each.kill()
            psutil.wait_procs(below, timeout=STOP_SECONDS)
            for pipe in (process.stdin, process.stdout):
                # What was not written when it ended cannot be written now.
                with contextlib.suppress(BrokenPipeError):
                    if pipe:
                        pipe.close()

    def until(self, what: str, probe: Callable[[], bool], seconds: float) -> None:
        """Wait until `probe` says yes.

        Raises:
            StackError: it did not, or a process of this contender has ended meanwhile.
        """
        deadline = time.monotonic() + seconds
        while not probe():
            dead = [name for name, each in self.processes.items() if each.poll() is not None]
            if dead:
                raise self.failed(f"{', '.join(dead)} ended while waiting for {what}")
            if time.monotonic() > deadline:
                raise self.failed(f"no {what} within {seconds:.0f} s")
            time.sleep(POLL_SECONDS)

    def wait(self, ids: Sequence[str], seconds: float) -> list[Timing]:
        """Wait until these runs have ended; what is known of them, in their order.

        Raises:
            StackError: one did not end in time, or failed.
        """
        found: dict[str, Timing] = {}

        def ended() -> bool:
            found.update(self.timings(ids))
            return all(each in found and found[each].ended for each in ids)

        self.until(f"end of {len(ids)} runs", ended, seconds)
        failures = {each.failure for each in found.values() if each.failure}
        if failures:
            raise self.failed(f"runs ended as {', '.join(sorted(failures))}")
        return [found[each] for each in ids]

    def run(self, job: Job, count: int, seconds: float) -> list[Timing]:
        """Ask for `count` runs at once and wait for them.

        Raises:
            StackError: as `wait` does.
        """
        return self.wait(self.submit(job, count), seconds)

    def failed(self, what: str) -> StackError:
        """A fault of this contender, with the ends of its logs."""
        logs = sorted(self.ground.layout.logs.glob(f"{self.name}-*.log"))
        details = [f"{log.name}:\n{_tail(log)}" for log in logs]
        return StackError(f"{self.title}: {what}", details="\n".join(details))


def _tail(log: Path, lines: int = 12) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _below(process: subprocess.Popen[Any]) -> list[psutil.Process]:
    if process.poll() is not None:
        return []
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
