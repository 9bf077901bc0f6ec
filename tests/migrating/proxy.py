"""A way to the server that a test can cut, mend and spoil."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import TYPE_CHECKING, Self

from tests.stack import free_port

if TYPE_CHECKING:
    from types import TracebackType


class Proxy:
    """Forwards connections to a port on loopback, or answers them with `says`.

    With an empty `says` it takes connections and never answers. It starts cut where `port` is None.
    """

    def __init__(self, port: int | None, says: str | None = None) -> None:
        self.port = free_port()
        self._target, self._says = port, says
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []

    @property
    def url(self) -> str:
        """The API's address by way of this proxy."""
        return f"http://127.0.0.1:{self.port}/api"

    def __enter__(self) -> Self:
        self.mend()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut()

    def mend(self) -> None:
        """Take connections."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Refuse connections, and end those that are open."""
        ending, self._listener = self._listener, None
        for each in [ending, *self._open]:
            if each:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._open.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._says is not None:
                client.recv(65536)
                if self._says:
                    client.sendall(self._says.encode())
                    client.shutdown(socket.SHUT_RDWR)
                return
            with socket.create_connection(("127.0.0.1", self._target or 0)) as server:
                self._open.append(server)
                while True:
                    for each in select.select([client, server], [], [])[0]:
                        data = each.recv(65536)
                        if not data:
                            client.shutdown(socket.SHUT_RDWR)
                            return
                        (server if each is client else client).sendall(data)
