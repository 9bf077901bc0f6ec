"""Messages between the worker and a template: JSON with its length before it, and open files."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

LENGTH = struct.Struct("!I")
MOST_FILES = 4


def send(channel: socket.socket, message: Any, files: Sequence[int] = ()) -> None:
    """Send `message`, and copies of `files`.

    Raises:
        OSError: the other side is gone, or does not read within the channel's timeout.
    """
    content = json.dumps(message).encode()
    socket.send_fds(channel, [LENGTH.pack(len(content))], list(files))
    channel.sendall(content)


def receive(channel: socket.socket) -> tuple[Any, list[int]]:
    """The next message and the files that came with it; they are the caller's to close.

    Raises:
        EOFError: the other side has closed.
        OSError: nothing came within the channel's timeout.
    """
    head, files, _, _ = socket.recv_fds(channel, LENGTH.size, MOST_FILES)
    for file in files:
        os.set_inheritable(file, False)  # noqa: FBT003
    try:
        head += _exactly(channel, LENGTH.size - len(head)) if head else b""
        if not head:
            raise EOFError("the other side has closed")  # noqa: TRY301
        return json.loads(_exactly(channel, LENGTH.unpack(head)[0])), files
    except BaseException:
        for file in files:
            os.close(file)
        raise


def _exactly(channel: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = channel.recv(size - len(parts))
        if not part:
            raise EOFError("the other side has closed")
        parts += part
    return bytes(parts)
