"""A relay of bytes before an API: websockets pass through it, and it counts what is asked for."""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
END = b"\r\n"
LENGTH = re.compile(rb"\r\ncontent-length:(\d+)")


class Counting(socketserver.ThreadingTCPServer):
    """Hands connections on to a port of this machine and counts their requests."""

    request_queue_size = 64

    def __init__(self, port: int) -> None:
        """Listen, and know where to."""
        super().__init__(("127.0.0.1", 0), _Connection)
        self.port = port
        self.requests: list[tuple[float, str]] = []  # when, and `METHOD PATH`
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        """What to ask instead of the API's own address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def asked(self) -> Counter[str]:
        """How often each `METHOD PATH` was asked for by now; websockets have the method `WS`."""
        with self.lock:
            return Counter(request for _, request in self.requests)


class _Connection(socketserver.StreamRequestHandler):
    """One connection of a client: a request after the other, or a websocket."""

    def handle(self) -> None:
        server = cast("Counting", self.server)
        with socket.create_connection(("127.0.0.1", server.port)) as api:
            answers = threading.Thread(target=_pass_on, args=(api, self.connection))
            answers.start()
            with contextlib.suppress(OSError):  # one of the two has hung up
                self._hand_on(server, api)
            with contextlib.suppress(OSError):
                api.shutdown(socket.SHUT_WR)
            answers.join()

    def _hand_on(self, server: Counting, api: socket.socket) -> None:
        head = b""
        for line in iter(self.rfile.readline, b""):
            head += line
            if line != END:
                continue
            method, path, _ = head.decode("latin-1").split(" ", 2)
            headers = head.lower().replace(b" ", b"")
            if END + b"transfer-encoding:" in headers:
                raise ConnectionAbortedError("where such a request ends is not looked for")
            is_websocket = END + b"upgrade:websocket" in headers
            name = f"{'WS' if is_websocket else method} {ID.sub('ID', path.partition('?')[0])}"
            with server.lock:
                server.requests.append((time.time(), name))
            length = LENGTH.search(headers)
            api.sendall(head + self.rfile.read(int(length[1]) if length else 0))
            head = b""
            if is_websocket:
                _pass_on(self.connection, api)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    """Hand on what comes until either hangs up, then hang up too."""
    with contextlib.suppress(OSError):
        while content := source.recv(65536):
            sink.sendall(content)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextmanager
def counting(port: int) -> Iterator[Counting]:
    """A running relay before the API on `port`; its clients have to end before it does."""
    with Counting(port) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()
