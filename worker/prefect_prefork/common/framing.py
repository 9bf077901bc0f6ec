"""Frames the messages on the sockets between the worker, its templates and its runs.

The version of the protocol and the length precede each message. Templates and runs block until the
worker sends something, and trust it. The worker trusts neither: it never blocks its event loop, and
limits the time and the length of what it reads.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# To be increased with each change of `messages` that an older process would not understand. The two
# sides differ if the package is replaced while a worker runs, which then starts a new template.
PROTOCOL = 1
HEADER = struct.Struct("!BI")  # the protocol, and the length of the message
MAX_FILES = 4
MAX_BYTES = 4 * 2**20  # that the worker reads from one sender; lists of modules are the longest
CLOSED = "the other side has closed"


class ProtocolError(ValueError):
    """The other side speaks another version of the protocol."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the worker's end, which never blocks, and the other process's end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)  # noqa: FBT003
    return ours, theirs


def frame(content: bytes) -> bytes:
    """Return a message with its header, as it is sent."""
    return HEADER.pack(PROTOCOL, len(content)) + content


def send(channel: socket.socket, content: bytes) -> None:
    """Send a message.

    Raises:
        OSError: the other side is gone; or its buffer is full, and the channel does not block.
            Nothing can be sent after that, since a part of the message may have been sent.
    """
    channel.sendall(frame(content))


def receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """Wait for the next message; return it with the files that came with it.

    The caller has to close the files.

    Raises:
        EOFError: the other side has closed.
        OSError: the channel is broken.
        ProtocolError: the worker speaks another version of the protocol.
    """
    head, files, _, _ = socket.recv_fds(channel, HEADER.size, MAX_FILES)
    for file in files:
        os.set_inheritable(file, False)  # noqa: FBT003
    try:
        if not head:
            raise EOFError(CLOSED)  # noqa: TRY301
        head += _exactly(channel, HEADER.size - len(head))
        return _exactly(channel, _length(head)), files
    except BaseException:
        for file in files:
            os.close(file)
        raise


async def send_in_loop(channel: socket.socket, content: bytes, files: Sequence[int] = ()) -> None:
    """Send a message and copies of `files`, on a channel that never blocks.

    Raises:
        OSError: the other side is gone.
    """
    loop = asyncio.get_running_loop()
    message = frame(content)
    sent = 0
    if files:
        while not sent:
            try:
                sent = socket.send_fds(channel, [message[: HEADER.size]], list(files))
            except BlockingIOError:
                await _writable(channel)
    await loop.sock_sendall(channel, message[sent:])


async def receive_in_loop(channel: socket.socket) -> bytes:
    """Return the next message from a channel that never blocks; the caller sets a deadline.

    Raises:
        EOFError: the other side has closed.
        OSError: the channel is broken.
        ValueError: the message is too long, or of another version of the protocol.
    """
    reader = FrameReader()
    loop = asyncio.get_running_loop()
    while True:
        part = await loop.sock_recv(channel, reader.wanted)
        if not part:
            raise EOFError(CLOSED)
        for content in reader.add(part):
            return content


class FrameReader:
    """Assembles messages from the bytes of one sender, of which it accepts `MAX_BYTES` in all.

    A run sends less than that in its life, and a template sends a single message.
    """

    def __init__(self) -> None:
        self._left = MAX_BYTES
        self._bytes = bytearray()

    @property
    def partial(self) -> bool:
        """Whether a message has begun and is not complete."""
        return bool(self._bytes)

    @property
    def wanted(self) -> int:
        """The maximum number of bytes to read, so that none of them belong to a later message."""
        size = HEADER.size
        if len(self._bytes) >= size:
            size += _length(self._bytes)
        return size - len(self._bytes)

    def add(self, part: bytes) -> Iterator[bytes]:
        """Yield the messages that `part` completes.

        Raises:
            ValueError: the sender sends more than it may.
            ProtocolError: it speaks another version of the protocol.
        """
        self._bytes += part
        while len(self._bytes) >= HEADER.size:
            size = HEADER.size + _length(self._bytes)
            if size > self._left:
                raise ValueError(f"{size} bytes are announced where {self._left} are taken")
            if len(self._bytes) < size:
                return
            content = bytes(self._bytes[HEADER.size : size])
            del self._bytes[:size]
            self._left -= size
            yield content


def _length(head: bytes | bytearray) -> int:
    """Return the length that the header at the beginning of `head` announces.

    Raises:
        ProtocolError: the header is of another version.
    """
    protocol, length = HEADER.unpack_from(head)
    if protocol != PROTOCOL:
        raise ProtocolError(
            f"the other process speaks version {protocol} of prefect-prefork's protocol, this one"
            f" speaks version {PROTOCOL}; where the package was replaced, restart the worker"
        )
    return int(length)


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
