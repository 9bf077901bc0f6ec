"""A server that is not Prefect, or is broken: it gives the same answer to every request."""

from __future__ import annotations

import socketserver
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def answering(answer: str) -> Iterator[str]:
    """Yield the address of an API that sends `answer`, as raw HTTP, or never if it is empty."""
    over = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            if answer:
                self.request.sendall(answer.encode())
            else:
                over.wait()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/api"
        finally:
            over.set()
            server.shutdown()
            thread.join()
