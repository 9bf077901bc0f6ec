"""The line that the faults of a network are tried on hands bytes on, late, or not while cut."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults import line as lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.line import Line


@pytest.fixture
def line() -> Iterator[Line]:
    """A line to a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo() -> None:
            connection, _ = server.accept()
            with connection:
                while content := connection.recv(100):
                    connection.sendall(content)

        thread = threading.Thread(target=echo)
        thread.start()
        with lines.laid(server.getsockname()[1]) as made:
            yield made
        thread.join()


def test_a_good_line_hands_on_in_both_directions_until_the_end(line: Line) -> None:
    with socket.create_connection(("127.0.0.1", line.listens_on)) as client:
        for content in (b"a", b"b" * 50):
            client.sendall(content)
            assert client.recv(100) == content
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""


def test_a_slow_line_takes_its_time_both_ways(line: Line) -> None:
    line.delay_seconds = 0.1
    with socket.create_connection(("127.0.0.1", line.listens_on)) as client:
        began = time.monotonic()
        client.sendall(b"a")
        assert client.recv(100) == b"a"
        assert time.monotonic() - began >= 0.2


def test_what_was_sent_on_a_line_that_is_cut_arrives_when_it_is_whole(line: Line) -> None:
    with socket.create_connection(("127.0.0.1", line.listens_on)) as client:
        client.sendall(b"a")
        assert client.recv(100) == b"a"
        line.cut = True
        client.sendall(b"b")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(100)
        line.cut = False
        client.settimeout(5)
        assert client.recv(100) == b"b"
