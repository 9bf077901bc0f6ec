"""How a worker stops: it takes no more runs, lets its own finish, and cancels what is left."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Collection
    from uuid import UUID

MESSAGE = "The worker was stopped, and the run was not done in time."
# compose.yaml and scripts/embedded/services.py kill the worker after 60 s. What it has them for,
# one after the other; a second signal skips the first.
GRACE_SECONDS = 40.0  # runs finish
END_SECONDS = 5.0  # runs that have not are asked to end, and are killed
HOOKS_SECONDS = 4.0  # their hooks run, and are killed
REPORT_SECONDS = 2.0  # their states are reported; once more, for those that never began
CLOSE_SECONDS = 1.5  # each of the parts of the worker is closed
PARTS = 3
WHOLE_SECONDS = (
    GRACE_SECONDS + END_SECONDS + HOOKS_SECONDS + 2 * REPORT_SECONDS + PARTS * CLOSE_SECONDS
)
LOOK_SECONDS = 0.1


class Shutdown:
    """What a worker was told by signals: once to stop, twice to hurry."""

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        """Nothing yet; `logger` is told what is waited for."""
        self._logger = logger
        self._told = asyncio.Event()
        self._hurry = asyncio.Event()

    @property
    def told(self) -> bool:
        """Whether no more runs are to be taken."""
        return self._told.is_set()

    def listen(self) -> None:
        """Take SIGTERM and SIGINT over, from here on."""
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
        """Wait to be told, and return when nothing runs any more, or the time is up.

        Args:
            running: the runs that the worker has, from when they are asked for.
            polling: whether it is asking for some just now.
            cancel: begins to end those that it has not begun to end.
            report: says of runs that they are cancelled.
        """
        await self._told.wait()
        if count := len(running()):
            seconds = GRACE_SECONDS
            self._logger.info(
                "Stopping: no more runs are taken; %d may finish within %d s.", count, seconds
            )
        async with _at_most(GRACE_SECONDS):
            while (running() or polling()) and not self._hurry.is_set():  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)
        if count := len(running()):
            self._logger.warning("Cancelling %d runs that are not done.", count)
        async with _at_most(END_SECONDS + HOOKS_SECONDS + REPORT_SECONDS):
            while running():
                cancel()  # also what was just being started
                await asyncio.sleep(LOOK_SECONDS)
        if left := running():
            self._logger.error("Not ended in time: %s", ", ".join(map(str, left)))
            async with _at_most(REPORT_SECONDS):
                await report(left)

    async def close(self, part: Callable[[], Awaitable[None]]) -> None:
        """Close a part of the worker, in bounded time when it was told to stop."""
        if not self.told:
            await part()
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await part()
        except TimeoutError:
            self._logger.warning("A part of the worker did not close in time", exc_info=True)

    def _signalled(self) -> None:
        (self._hurry if self.told else self._told).set()


@contextlib.asynccontextmanager
async def _at_most(seconds: float) -> Any:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield
