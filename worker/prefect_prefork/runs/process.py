"""The process of a run, as the worker waits for it and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any, cast

from prefect_prefork.common import linux
from prefect_prefork.upstream import ProcessHandle


class ForkedProcess:
    """A child that a template has forked for this process, which waits for it by its pidfd."""

    def __init__(self, pid: int) -> None:
        """Take over the child `pid`, which may have ended already."""
        self.pid = pid
        self.returncode: int | None = None

    async def wait(self) -> int:
        """Wait for its end; return the exit code, negative for a signal."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        file = os.pidfd_open(self.pid)
        try:
            loop.add_reader(file, ended.set)
            await ended.wait()
        finally:
            loop.remove_reader(file)
            os.close(file)
        status = self._reap()
        # It is not our child until the process between it and the template has ended.
        while status is None:
            await asyncio.sleep(0.001)
            status = self._reap()
        self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def _reap(self) -> int | None:
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return None
        return status if pid else None


class SessionScope:
    """How a run is ended: its process group, which holds all that it has not moved out of it."""

    wait_after_graceful_kill = True

    def is_alive(self, pid: int) -> bool:
        """Return whether a process of the group has not ended."""
        return linux.group_lives(pid)

    def graceful_kill(self, pid: int) -> None:
        """Ask all of them to end."""
        os.killpg(pid, signal.SIGTERM)

    def hard_kill(self, pid: int) -> None:
        """Kill all of them."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def handle(process: ForkedProcess | Any) -> ProcessHandle:
    """Return `process` as Prefect's executor tracks it; it is ended with all of its session."""
    return ProcessHandle(cast("Any", process), termination_scope=SessionScope())
