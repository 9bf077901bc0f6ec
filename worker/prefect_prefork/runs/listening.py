"""Receives what runs say to the worker, over the socket that each of them has."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from prefect_prefork.common import messages
from prefect_prefork.common.framing import MAX_BYTES, FrameReader

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from typing import Any

    from prefect_prefork.common.messages import FromRun

MESSAGE_SECONDS = 5  # from the first byte of a message to its last
AT_ONCE_BYTES = 64 * 2**10  # read from one run before others get their turn


class Listener:
    """Receives the messages of one run, until the run sends something that is not a message.

    The flow shares its process with the socket, and may send anything at any pace. That delays no
    other run: bytes are read as they arrive, and a message has a deadline to be complete.
    """

    def __init__(
        self,
        line: socket.socket,
        told: Callable[[FromRun], None],
        logger: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        """Call `told` with what comes over `line`, in the running loop, until `close`.

        Args:
            line: the worker's end of the socket, which never blocks; the caller closes it.
            told: called with each message.
            logger: of the run; gets a warning when the worker stops listening early.
        """
        self._line = line
        self._told = told
        self._logger = logger
        self._reader = FrameReader()
        self._deadline: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._listens = True
        self._loop.add_reader(line, self._take)

    def close(self) -> None:
        """Read what the run has sent before its end, and stop listening.

        Call this before the socket is closed: its file descriptor may be reused at once.
        """
        taken = 0
        while self._listens and taken < MAX_BYTES and (size := self._take()):
            taken += size
        self._stop()

    def _take(self) -> int:
        """Read what is there; return how many bytes that was."""
        try:
            part = self._line.recv(AT_ONCE_BYTES)
        except BlockingIOError:
            return 0
        except OSError:
            part = b""
        if not part:
            self._stop()
            return 0
        try:
            for each in self._reader.add(part):
                self._told(messages.from_run(each))
                self._forget_deadline()
        except ValueError as error:
            self._refuse(f"it has sent something that is not a message: {error}")
            return 0
        if self._reader.partial and self._deadline is None:
            why = f"a message was not complete after {MESSAGE_SECONDS} s"
            self._deadline = self._loop.call_later(MESSAGE_SECONDS, self._refuse, why)
        return len(part)

    def _refuse(self, why: str) -> None:
        self._logger.warning("The worker no longer listens to this run: %s", why)
        self._stop()
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)

    def _stop(self) -> None:
        self._listens = False
        self._loop.remove_reader(self._line)
        self._forget_deadline()

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
