"""Follows the supervisor of a stack for a command, which waits for it only for a limited time."""

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
STATE_SECONDS = 20  # the supervisor writes its state every few seconds
SILENT_SECONDS = 120.0  # initdb should take less; meanwhile the supervisor writes no state


@dataclass(frozen=True)
class Following:
    """What a command knows of the supervisor of its stack."""

    layout: Layout
    cluster: Cluster

    def supervisor(self) -> psutil.Process | None:
        """The process that holds the stack's lock, if it is a process of the stack."""
        current = state.read(self.layout)
        pid = state.holder(self.layout) or (current.pid if current else None)
        if pid is None or not psutil.pid_exists(pid):
            return None
        process = psutil.Process(pid)
        return process if processes.belongs(process, self.layout, self.cluster) else None

    def current_state(self) -> StackState | None:
        """Wait for the state of a supervisor that starts or runs a stack; None if it has ended.

        Raises:
            StackError: it has written no state that can be read for `STATE_SECONDS`, or does not
                end within `STOP_SECONDS`.
        """
        began = time.monotonic()
        while state.alive(self.layout):
            current = state.read(self.layout)
            if current and current.phase in {"starting", "running"}:
                return current
            limit = STOP_SECONDS if current else STATE_SECONDS
            if time.monotonic() - began > limit:
                raise self._silent(f"a state that can be read, within {limit} s")
            time.sleep(POLL_SECONDS)
        return None

    def follow(self, steps: report.Steps, supervisor: psutil.Process) -> StackState:
        """Report each service that starts, until the stack is running; return the state then.

        Raises:
            MistakeError: the start failed because of a person's mistake.
            StackError: it failed otherwise, or the supervisor has written nothing for
                `SILENT_SECONDS`.
        """
        heard = time.monotonic()
        with report.waiting("starting"):
            while True:
                alive = _is_alive(supervisor)  # asked first, so as to read the state that it left
                current = state.read(self.layout)
                for service in current.services if current else []:
                    if service.status in {"running", "done"}:
                        steps.done(service.name, service.seconds, self._note(service.name))
                if current and current.phase == "running":
                    return current
                if current and current.phase == "failed":
                    raise _start_error(current)
                if not alive:
                    raise StackError(
                        "the supervisor ended before the stack was up",
                        expected="a supervisor that goes on",
                        found="the last lines of its log",
                        do="correct what they say, then: scripts/stack up",
                        details=services.tail(self.layout.logs / "supervisor.log"),
                    )
                if current and current.age_seconds < SILENT_SECONDS:
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
        """The summary of bootstrap; empty for other services."""
        if service != BOOTSTRAP:
            return ""
        return report.last_line(services.tail(self.layout.logs / "bootstrap.log"))


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _start_error(failed: StackState) -> StackError:
    return error(failed.exit_code, failed.error or "the stack did not start")


def error(exit_code: int, text: str) -> StackError:
    """The error that `state.json` holds as an exit code and a message."""
    return (MistakeError if exit_code == MistakeError.exit_code else StackError)(text)
