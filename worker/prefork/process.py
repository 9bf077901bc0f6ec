"""A forked process, as its worker sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal


class ForkedProcess:
    """A child that another process has forked for this one; it is waited for by its pidfd."""

    def __init__(self, pid: int) -> None:
        """Take over the child `pid`, which may have ended already."""
        self.pid = pid
        self.returncode: int | None = None

    async def wait(self) -> int:
        """Its exit code when it has ended; negative for a signal."""
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
        while status is None:  # a child of the template until the process between has ended
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
    """How a forked process is ended: it asks the process, and kills all of its session."""

    wait_after_graceful_kill = True

    def is_alive(self, pid: int) -> bool:
        """Whether the process is there."""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True

    def graceful_kill(self, pid: int) -> None:
        """Ask it to end."""
        os.kill(pid, signal.SIGTERM)

    def hard_kill(self, pid: int) -> None:
        """End it, and what it has started and not put into a session of its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    def close(self) -> None:
        """Nothing is held."""
