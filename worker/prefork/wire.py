"""Bytes between the worker, its templates and its runs: messages with their length before them.

Runs and templates wait for what the worker sends, and trust it. The worker trusts none of them: it
never waits in its event loop, and what it reads has a deadline and a greatest length.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LENGTH = struct.Struct("!I")
MOST_FILES = 4
MOST_BYTES = 4 * 2**20  # what the worker reads: the longest are lists of modules
CLOSED = "the other side has closed"


def pair() -> tuple[socket.socket, socket.socket]:
    """The worker's end, which never waits, and the other process's end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)  # noqa: FBT003
    return ours, theirs


def frame(content: bytes) -> bytes:
    """A message as it is on the wire."""
    return LENGTH.pack(len(content)) + content


def send(channel: socket.socket, content: bytes) -> None:
    """Send a message.

    Raises:
        OSError: the other side is gone; or it has not read for long, and the channel may not wait.
            Nothing can be sent after that: a part of the message may be on its way.
    """
    channel.sendall(frame(content))


def receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """The worker's next message, and the files that came with it; they are the caller's to close.

    Raises:
        EOFError: the other side has closed.
        OSError: the channel is of no use any more.
    """
    head, files, _, _ = socket.recv_fds(channel, LENGTH.size, MOST_FILES)
    for file in files:
        os.set_inheritable(file, False)  # noqa: FBT003
    try:
        if not head:
            raise EOFError(CLOSED)  # noqa: TRY301
        head += _exactly(channel, LENGTH.size - len(head))
        return _exactly(channel, LENGTH.unpack(head)[0]), files
    except BaseException:
        for file in files:
            os.close(file)
        raise


async def send_in_loop(channel: socket.socket, content: bytes, files: Sequence[int] = ()) -> None:
    """Send a message and copies of `files`, on a channel that never waits.

    Raises:
        OSError: the other side is gone.
    """
    loop = asyncio.get_running_loop()
    message = frame(content)
    sent = 0
    if files:
        while not sent:
            try:
                sent = socket.send_fds(channel, [message[: LENGTH.size]], list(files))
            except BlockingIOError:
                await _writable(channel)
    await loop.sock_sendall(channel, message[sent:])


async def receive_in_loop(channel: socket.socket) -> bytes:
    """The next message, from a channel that never waits; a deadline is the caller's to set.

    Raises:
        EOFError: the other side has closed.
        OSError: the channel is of no use any more.
        ValueError: the message is too long.
    """
    messages = Messages()
    loop = asyncio.get_running_loop()
    while True:
        part = await loop.sock_recv(channel, messages.wanted)
        if not part:
            raise EOFError(CLOSED)
        for content in messages.add(part):
            return content


class Messages:
    """Puts messages together from the bytes that one sender sends, which are `MOST_BYTES` in all.

    More than that no run has to say while it lives, and a template sends one message only.
    """

    def __init__(self) -> None:
        """Nothing has been sent yet."""
        self._left = MOST_BYTES
        self._bytes = bytearray()

    @property
    def partial(self) -> bool:
        """Whether a message has begun and is not whole."""
        return bool(self._bytes)

    @property
    def wanted(self) -> int:
        """How many bytes are to be read for the message that is next, at most."""
        size: int = LENGTH.size
        if len(self._bytes) >= size:
            size += LENGTH.unpack_from(self._bytes)[0]
        return size - len(self._bytes)

    def add(self, part: bytes) -> Iterator[bytes]:
        """Those that are whole with `part`.

        Raises:
            ValueError: the sender says more than it may.
        """
        self._bytes += part
        while len(self._bytes) >= LENGTH.size:
            size = LENGTH.size + LENGTH.unpack_from(self._bytes)[0]
            if size > self._left:
                raise ValueError(f"{size} bytes are announced where {self._left} are taken")
            if len(self._bytes) < size:
                return
            content = bytes(self._bytes[LENGTH.size : size])
            del self._bytes[:size]
            self._left -= size
            yield content


async def _writable(channel: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(channel, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(channel)


def _exactly(channel: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = channel.recv(size - len(parts))
        if not part:
            raise EOFError(CLOSED)
        parts += part
    return bytes(parts)
