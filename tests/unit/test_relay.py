"""The relay notes the requests that pass, and delays, suspends or drops them as it is told."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from benchmarks.relay import Relay, is_write, relaying

if TYPE_CHECKING:
    from collections.abc import Iterator

GET = b"GET /api/flow_runs/0198a1b2-0000-7000-8000-0123456789ab?limit=3 HTTP/1.1\r\n\r\n"
POST = b"POST /api/flow_runs/ HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"
WEBSOCKET = b"GET /api/events/out HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"


@contextmanager
def echo() -> Iterator[int]:
    """Yield the port of a server that sends back what it receives."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(connection: socket.socket) -> None:
            with connection:
                while content := connection.recv(1000):
                    connection.sendall(content)

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return  # the test is over
                threading.Thread(target=serve, args=[connection]).start()

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def relay() -> Iterator[Relay]:
    with echo() as port, relaying(port) as between:
        yield between


def connect(relay: Relay) -> socket.socket:
    port = int(relay.address.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def receive(client: socket.socket, size: int) -> bytes:
    """Return `size` bytes, or fewer where the connection ends before."""
    received = b""
    while len(received) < size and (content := client.recv(size - len(received))):
        received += content
    return received


def test_requests_pass_in_both_directions_and_are_noted(relay: Relay) -> None:
    with connect(relay) as client:
        for request in (GET, POST, WEBSOCKET, b"a frame"):
            client.sendall(request)
            assert receive(client, len(request)) == request
    assert [request for _, request in relay.requests] == [
        *("GET /api/flow_runs/ID", "POST /api/flow_runs/", "WS /api/events/out"),
    ]
    assert relay.writes == ["POST /api/flow_runs/"]


def test_a_list_that_is_asked_for_with_post_is_no_write() -> None:
    assert is_write("POST /api/flow_runs/")
    assert not is_write("POST /api/flow_runs/filter")


def test_after_the_last_write_that_it_lets_pass_it_breaks_off() -> None:
    with echo() as port, relaying(port, last_write=1) as relay:
        with connect(relay) as client:
            client.sendall(POST)
            assert receive(client, len(POST)) == POST
            assert not relay.broken_off
            client.sendall(POST)
            assert receive(client, 1) == b""
        assert relay.broken_off
        with connect(relay) as client:
            client.sendall(GET)
            assert receive(client, 1) == b""


def test_websockets_are_dropped_and_noted_where_they_are_not_wanted() -> None:
    with echo() as port, relaying(port, websockets=False) as relay, connect(relay) as client:
        client.sendall(WEBSOCKET)
        assert receive(client, 1) == b""
        assert relay.asked == {"WS /api/events/out": 1}


def test_a_delay_is_added_both_ways(relay: Relay) -> None:
    relay.delay_seconds = 0.1
    with connect(relay) as client:
        began = time.monotonic()
        client.sendall(GET)
        assert receive(client, len(GET)) == GET
        assert time.monotonic() - began >= 0.2


def test_what_is_sent_while_it_is_suspended_arrives_afterwards(relay: Relay) -> None:
    with connect(relay) as client:
        client.sendall(GET)
        assert receive(client, len(GET)) == GET
        relay.suspended = True
        client.sendall(POST)
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(100)
        relay.suspended = False
        client.settimeout(10)
        assert receive(client, len(POST)) == POST


def test_it_refuses_connections_while_it_is_disconnected(relay: Relay) -> None:
    with connect(relay) as client:
        client.sendall(GET)
        assert receive(client, len(GET)) == GET
        relay.disconnect()
        assert receive(client, 1) == b""
    with pytest.raises(ConnectionRefusedError):
        connect(relay)
    relay.reconnect()
    with connect(relay) as client:
        client.sendall(GET)
        assert receive(client, len(GET)) == GET
