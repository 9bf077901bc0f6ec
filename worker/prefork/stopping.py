"""How a worker stops: it takes no more runs, lets its own finish, and cancels what is left."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable

# compose.yaml and scripts/embedded/services.py end the worker after 60 s; cancelling takes a while.
GRACE_SECONDS = 40.0
LOOK_SECONDS = 0.1


class Stop:
    """What a worker was told by signals: once to stop, twice to hurry."""

    def __init__(self) -> None:
        """Nothing yet."""
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
        running: Callable[[], int],
        cancel: Callable[[], Awaitable[None]],
        logger: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        """Wait to be told, and return when nothing runs any more.

        Args:
            running: how many runs the worker has.
            cancel: ends them, each with a state that says why.
            logger: is told what is waited for.
        """
        await self._told.wait()
        if count := running():
            logger.info(
                "Stopping: no more runs are taken; %d may finish within %d s.", count, GRACE_SECONDS
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                while running() and not self._hurry.is_set():  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_SECONDS)
        if count := running():
            logger.warning("Cancelling %d runs that are not done.", count)
            while running():  # one that was just being started comes with the next turn
                await cancel()
                await asyncio.sleep(LOOK_SECONDS)

    def _signalled(self) -> None:
        (self._hurry if self.told else self._told).set()
