"""Slack's side of an incoming webhook, as a program that needs only the standard library.

`receiver.py FOLDER` is an HTTPS proxy on a port of loopback, which it writes to `FOLDER/port`. It
knows a single host, `hooks.slack.com`, and answers for it. `receiver.py FOLDER --tls PORT` listens
on all addresses as that host itself. Each request becomes a line of `FOLDER/requests.jsonl`. If
`FOLDER/answer` holds a number, every message is answered with that status.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOST = "hooks.slack.com"
PATH = "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"
LARGEST = 1_000_000  # bytes

FOLDER = Path(sys.argv[1]) if __name__ == "__main__" else Path()
WRITING = threading.Lock()


def verdict(path: str, body: bytes) -> tuple[HTTPStatus, str]:
    """Return what Slack answers to a POST of `body`."""
    if path != PATH:
        return HTTPStatus.NOT_FOUND, "no_service"
    try:
        payload = json.loads(body)
    except ValueError:
        return HTTPStatus.BAD_REQUEST, "invalid_payload"
    if not isinstance(payload, dict):
        return HTTPStatus.BAD_REQUEST, "invalid_payload"
    if not any(payload.get(key) for key in ("text", "attachments", "blocks")):
        return HTTPStatus.BAD_REQUEST, "no_text"
    return HTTPStatus.OK, "ok"


class Handler(BaseHTTPRequestHandler):
    """One connection, directly or through the proxy."""

    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        """Be the proxy, and then the host behind it; refuse any other host."""
        if self.path != f"{HOST}:443":
            self._record({"refused": self.path})
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        self.send_response(HTTPStatus.OK)
        self.end_headers()
        self.connection = context().wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(min(length, LARGEST))
        status, said = verdict(self.path, body)
        ordered = FOLDER / "answer"
        if ordered.exists():
            status, said = HTTPStatus(int(ordered.read_text())), "ordered by the test"
        self._record({"path": self.path, "body": body.decode(), "status": status, "said": said})
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())

    def _record(self, line: dict[str, Any]) -> None:
        with WRITING, (FOLDER / "requests.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


def context() -> ssl.SSLContext:
    """Return the TLS of `hooks.slack.com`, signed by the tests' own authority."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(FOLDER / "server.pem")
    return tls


def main() -> None:
    """Serve until the process is ended."""
    if sys.argv[2:3] == ["--tls"]:
        server = ThreadingHTTPServer(("", int(sys.argv[3])), Handler)
        server.socket = context().wrap_socket(server.socket, server_side=True)
    else:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ready = FOLDER / "port.new"
    ready.write_text(str(server.server_address[1]))
    ready.rename(FOLDER / "port")
    server.serve_forever()


if __name__ == "__main__":
    main()
