"""The process of a run as the worker sees it: how it is reported, waited for and ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio.abc

from prefect_prefork.common import linux
from prefect_prefork.upstream import ProcessHandle

if TYPE_CHECKING:
    from collections.abc import Callable

T_contra = TypeVar("T_contra", contravariant=True)


class ForkedProcess:
    """A process that a template has forked to be a child of this one, which awaits its pidfd."""

    def __init__(self, pid: int) -> None:
        """Adopt the child `pid`, which may have ended already."""
        self.pid = pid
        self.returncode: int | None = None

    async def wait(self) -> int:
        """Wait until it ends; return the exit code, negative for a signal."""
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
        # It becomes our child only when the process between it and the template has ended.
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
    """Ends the whole process group of a run. Prefect's protocol for the scope of a termination."""

    wait_after_graceful_kill = True

    def is_alive(self, pid: int) -> bool:
        """Return whether any process of the group has not ended."""
        return linux.group_lives(pid)

    def graceful_kill(self, pid: int) -> None:
        """Send SIGTERM to the group."""
        os.killpg(pid, signal.SIGTERM)

    def hard_kill(self, pid: int) -> None:
        """Send SIGKILL to the group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def handle(process: ForkedProcess | Any) -> ProcessHandle:
    """Wrap `process` for Prefect's executor, which then ends it with its process group."""
    return ProcessHandle(cast("Any", process), termination_scope=SessionScope())


class OnStarted(anyio.abc.TaskStatus[T_contra]):
    """A task status that calls a function with the process, or the pid, that has started."""

    def __init__(self, call: Callable[[T_contra], object]) -> None:
        self._call = call

    def started(self, value: T_contra | None = None) -> None:
        """Call the function, unless there is no value."""
        if value is not None:
            self._call(value)
