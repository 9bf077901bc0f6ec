"""Checks that the stack can listen on its port, before anything is created."""

from __future__ import annotations

import errno
import socket

from server.errors import MistakeError


def check(bind: str, port: int) -> None:
    """Try to bind the address and port of the stack.

    Raises:
        MistakeError: another process listens there, this user may not, or `bind` is not an address
            of this machine.
    """
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((bind, port))
        except OSError as error:
            raise _mistake(error, bind, port) from error


def _mistake(error: OSError, bind: str, port: int) -> MistakeError:
    if error.errno == errno.EADDRINUSE:
        return MistakeError(
            f"port {port} on {bind} is in use",
            expected="a free port for UI and API",
            found="another process that listens there",
            do="set STACK_PORT to a free port in .env, or end the other process "
            f"(`ss -ltnp 'sport = :{port}'` names it)",
        )
    return MistakeError(
        f"the stack cannot listen on {bind}, port {port}",
        expected="an address of this machine and a port that you may use",
        found=error.strerror or str(error),
        do="correct STACK_BIND and STACK_PORT in .env",
    )
