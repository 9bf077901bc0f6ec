"""Stops a worker: it takes no more runs, lets those it has finish, and cancels the rest."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Collection, Coroutine
    from uuid import UUID

MESSAGE = "The worker was stopped, and the run was not done in time."
# After the first signal, a worker needs up to `WHOLE_SECONDS` before it may be killed; 60 s are a
# good choice. The time is spent on these steps, in this order. A second signal skips the first.
GRACE_SECONDS = 40.0  # runs may finish
END_SECONDS = 5.0  # runs that have not finished are asked to end, then killed
HOOKS_SECONDS = 4.0  # their hooks may run, and are then killed
REPORT_SECONDS = 2.0  # for reporting their states, and again for those of runs that never began
CLOSE_SECONDS = 1.0  # for closing each part of the worker
PARTS = 4
WHOLE_SECONDS = (
    GRACE_SECONDS + END_SECONDS + HOOKS_SECONDS + 2 * REPORT_SECONDS + PARTS * CLOSE_SECONDS
)
CHECK_SECONDS = 0.1  # between two looks at what still runs


class Shutdown:
    """Carries out the shutdown: the first signal starts it, the second cuts short the wait."""

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self._logger = logger
        self._requested = asyncio.Event()
        self._hurry = asyncio.Event()

    @property
    def requested(self) -> bool:
        """Whether a signal has asked the worker to stop, so that it must not take more runs."""
        return self._requested.is_set()

    def listen(self) -> None:
        """Handle SIGTERM and SIGINT from now on."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(RuntimeError, ValueError):  # not in the main thread
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._signalled)

    async def carry_out(
        self,
        running: Callable[[], Collection[UUID]],
        polling: Callable[[], bool],
        cancel: Callable[[], None],
        report: Callable[[Collection[UUID]], Awaitable[None]],
    ) -> None:
        """Wait for a signal, then stop; return when nothing runs any more, or the time is up.

        Args:
            running: returns the runs of the worker, including those that a poll has just returned.
            polling: returns whether a poll is in progress.
            cancel: begins to cancel the runs that are not being cancelled yet.
            report: reports runs as Cancelled.
        """
        await self._requested.wait()
        if count := len(running()):
            seconds = GRACE_SECONDS
            self._logger.info(
                "Stopping: no more runs are taken; %d may finish within %d s.", count, seconds
            )
        async with _at_most(GRACE_SECONDS):
            while (running() or polling()) and not self._hurry.is_set():  # noqa: ASYNC110
                await asyncio.sleep(CHECK_SECONDS)
        if count := len(running()):
            self._logger.warning("Cancelling %d runs that are not done.", count)
        async with _at_most(END_SECONDS + HOOKS_SECONDS + REPORT_SECONDS):
            while running():
                cancel()  # repeatedly, since some runs may only now have got a process
                await asyncio.sleep(CHECK_SECONDS)
        if left := running():
            self._logger.error("Not ended in time: %s", ", ".join(map(str, left)))
            async with _at_most(REPORT_SECONDS):
                await report(left)

    async def close(self, part: Callable[[], Awaitable[object]]) -> None:
        """Close a part of the worker, within `CLOSE_SECONDS` if the worker was told to stop."""
        if not self.requested:
            await part()
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await part()
        except TimeoutError:
            self._logger.warning("A part of the worker did not close in time", exc_info=True)

    def _signalled(self) -> None:
        (self._hurry if self.requested else self._requested).set()


async def until_one_ends(*work: Coroutine[Any, Any, None]) -> None:
    """Run all of `work` until one of it ends, then cancel the rest; raise the errors of any."""
    # Use tasks, not a cancel scope: a task that is cancelled can still await its teardown.
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


@contextlib.asynccontextmanager
async def _at_most(seconds: float) -> Any:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield
