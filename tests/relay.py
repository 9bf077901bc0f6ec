"""A relay before an API: it writes down what is asked, and can break off."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

# Prefect asks for lists with POST, too.
READS = ("/filter", "/count", "/name")
HOP = {"connection", "content-length", "content-encoding", "transfer-encoding", "host"}


class Relay:
    """Hands each request on to `target`; after `last_write` writes, to nobody."""

    def __init__(self, target: str, last_write: int | None = None) -> None:
        """Know where to; nothing is started."""
        self.target = target
        self.last_write = last_write
        self.asked: list[str] = []
        self.address = ""

    @property
    def writes(self) -> list[str]:
        """The requests that change something."""
        return [each for each in self.asked if is_write(*each.split(" ", 1))]

    @property
    def broken(self) -> bool:
        """Whether it has broken off."""
        return self.last_write is not None and len(self.writes) > self.last_write


def is_write(method: str, path: str) -> bool:
    """Whether a request changes something."""
    return method != "GET" and not path.split("?", maxsplit=1)[0].rstrip("/").endswith(READS)


@contextmanager
def relay(target: str, last_write: int | None = None) -> Iterator[Relay]:
    """A running relay; its `address` takes what `target` takes."""
    made = Relay(target, last_write)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _relay(self) -> None:
            made.asked.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if made.broken:
                self.close_connection = True
                return
            headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
            answer = httpx.request(
                self.command, f"{made.target}{self.path}", content=body, headers=headers, timeout=60
            )
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _relay  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            """Say nothing: `asked` has it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
