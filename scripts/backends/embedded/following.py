"""Follows the stack's supervisor for a command, with limits on how long to wait for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from scripts import report
from scripts.backends.base import BOOTSTRAP
from scripts.backends.embedded import processes, services, state
from server.errors import MistakeError, StackError

if TYPE_CHECKING:
    from scripts.backends.embedded.cluster import Cluster
    from scripts.backends.embedded.layout import Layout
    from scripts.backends.embedded.state import StackState

POLL_SECONDS = 0.1
STOP_SECONDS = 180
TOLD_SECONDS = 20  # the supervisor writes its state every few seconds
SILENT_SECONDS = 120.0  # the longest that making the database's data should take


@dataclass(frozen=True)
class Following:
    """A command that follows the supervisor of the stack."""

    layout: Layout
    cluster: Cluster

    def supervisor(self) -> psutil.Process | None:
        """The process that holds the stack's lock, if it is one of ours."""
        found = state.read(self.layout)
        pid = state.holder(self.layout) or (found.pid if found else None)
        if pid is None or not psutil.pid_exists(pid):
            return None
        process = psutil.Process(pid)
        return process if processes.belongs(process, self.layout, self.cluster) else None

    def told(self) -> StackState | None:
        """The state that the running supervisor writes, once there is one; None when it has ended.

        Raises:
            StackError: it says nothing that can be read.
        """
        began = time.monotonic()
        while state.alive(self.layout):
            found = state.read(self.layout)
            if found and found.phase in {"starting", "running"}:
                return found
            limit = STOP_SECONDS if found else TOLD_SECONDS
            if time.monotonic() - began > limit:
                raise self._silent(f"a state that can be read, within {limit} s")
            time.sleep(POLL_SECONDS)
        return None

    def follow(self, steps: report.Steps, supervisor: psutil.Process) -> StackState:
        """Report each service that starts until all are healthy; return the state then.

        Raises:
            StackError: the start failed, or the supervisor has said nothing for a long time.
        """
        heard = time.monotonic()
        with report.waiting("starting"):
            while True:
                lives = _lives(supervisor)  # asked first: its last words are read after its end
                found = state.read(self.layout)
                for each in found.services if found else []:
                    if each.status in {"running", "done"}:
                        steps.done(each.name, each.seconds, self._note(each.name))
                if found and found.phase == "running":
                    return found
                if found and found.phase == "failed":
                    raise _failed(found)
                if not lives:
                    raise StackError(
                        "the supervisor ended before the stack was up",
                        expected="a supervisor that goes on",
                        found="the last lines of its log",
                        do="correct what they say, then: scripts/stack up",
                        details=services.tail(self.layout.logs / "supervisor.log"),
                    )
                if found and found.age_seconds < SILENT_SECONDS:
                    heard = time.monotonic()
                if time.monotonic() - heard > SILENT_SECONDS:
                    raise self._silent(f"news of the start every {SILENT_SECONDS:.0f} s")
                time.sleep(POLL_SECONDS)

    def _silent(self, expected: str) -> StackError:
        holder = self.supervisor()
        stranger = state.holder(self.layout) if holder is None else None
        if stranger:
            found = (
                f"none; {self.layout.lock} is held by process {stranger}, which is no supervisor"
            )
            do = f"end that process (kill {stranger}), then: scripts/stack up"
        else:
            what = "a damaged one" if state.damaged(self.layout) else "none"
            found = f"{what}, or one that does not change: {self.layout.state}"
            do = "make room if the disk is full (df -h), then: scripts/stack down, scripts/stack up"
        return StackError(
            "the supervisor of the stack does not say how it is doing",
            expected=expected,
            found=found,
            do=do,
            details=services.tail(self.layout.logs / "supervisor.log"),
        )

    def _note(self, service: str) -> str:
        if service != BOOTSTRAP:
            return ""
        return report.last_line(services.tail(self.layout.logs / "bootstrap.log"))


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _failed(found: StackState) -> StackError:
    return error(found.exit_code, found.error or "the stack did not start")


def error(exit_code: int, text: str) -> StackError:
    """The error that `state.json` holds as an exit code and a message."""
    return (MistakeError if exit_code == MistakeError.exit_code else StackError)(text)
