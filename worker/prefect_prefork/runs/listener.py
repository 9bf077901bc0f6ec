"""Receives the messages of runs to the worker, each over a socket of its own."""

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
AT_ONCE_BYTES = 64 * 2**10  # read from one run before the others get their turn


class Listener:
    """Receives the messages of one run, until the run sends something that is not a message.

    The socket is in the process of the flow, which may send anything at any pace. That does not
    delay other runs: bytes are read as they arrive, and each message has a deadline.
    """

    def __init__(
        self,
        line: socket.socket,
        receive: Callable[[FromRun], None],
        logger: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        """Listen to `line` in the running event loop, until `close`.

        Args:
            line: the worker's end of the socket, which never blocks; the caller closes it.
            receive: called with each message.
            logger: of the run; gets a warning when the worker stops listening early.
        """
        self._line = line
        self._receive = receive
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
        """Read the available bytes; return their number."""
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
            for content in self._reader.add(part):
                self._receive(messages.from_run(content))
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
