"""A relay between clients and an API.

It records every request. It can delay data, lose packets, suspend all traffic, refuse connections,
or break off in the middle of a client's requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LENGTH = re.compile(rb"\r\ncontent-length:(\d+)")
# Prefect also reads lists with POST.
READS = ("/filter", "/count", "/name")
CHUNK_BYTES = 65536
RETRANSMISSION_SECONDS = 1.5  # after this delay, TCP delivers a packet that was lost


class Relay:
    """Forwards connections to `port` of `host`.

    While `suspended` is set, data and new connections silently wait. `delay_seconds` is added in
    each direction. The share `loss` of all chunks is delayed further, like a packet that was lost
    and sent again.
    """

    def __init__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        last_write: int | None = None,
        websockets: bool = True,
        listens_on: int = 0,
    ) -> None:
        """Prepare the relay, which `serve` runs.

        Args:
            port: where the API listens.
            host: the machine of the API.
            last_write: after this many requests that change something, drop every request together
                with its connection.
            websockets: if False, drop the connections that ask for a websocket.
            listens_on: the relay's own port; 0 takes any free port.
        """
        self.suspended = False
        self.delay_seconds = 0.0
        self.loss = 0.0
        self.requests: list[tuple[float, str]] = []  # time in seconds since the epoch, request
        self._api = (host, port)
        self._last_write = last_write
        self._websockets = websockets
        self._listens_on = listens_on
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._chance = random.Random(1)  # noqa: S311 - no secret

    @property
    def address(self) -> str:
        """The URL to use in place of that of the API's server."""
        return f"http://127.0.0.1:{self._listens_on}"

    @property
    def asked(self) -> Counter[str]:
        """The number of requests so far for each `METHOD PATH`, with every id written as `ID`.

        Websockets have the method `WS`.
        """
        return Counter(request for _, request in list(self.requests))

    @property
    def writes(self) -> list[str]:
        """The requests that change something, in their order."""
        return [request for _, request in list(self.requests) if is_write(request)]

    @property
    def broken_off(self) -> bool:
        """Whether the client has made more writes than `last_write`."""
        return self._last_write is not None and len(self.writes) > self._last_write

    def disconnect(self) -> None:
        """Close all connections, and refuse new ones until `reconnect`."""
        self._call(self._stop_listening())

    def reconnect(self) -> None:
        """Accept connections again, at the same address."""
        self._call(self._listen())

    def _call(self, doing: Coroutine[Any, Any, None]) -> None:
        if self._loop is None:
            raise RuntimeError("the relay is not running: use it inside `with relaying(port)`")
        asyncio.run_coroutine_threadsafe(doing, self._loop).result()

    async def serve(self, ready: threading.Event) -> None:
        """Accept connections until `end` is called from another thread."""
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        await self._listen()
        ready.set()
        await self._over.wait()
        await self._stop_listening()

    def end(self) -> None:
        """End `serve`."""
        if self._loop and self._over:
            self._loop.call_soon_threadsafe(self._over.set)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", self._listens_on)
        self._listens_on = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        if self._server:
            self._server.close()
        for client in self._clients:
            client.transport.abort()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._open()
                answers, api = await asyncio.open_connection(*self._api)
                await asyncio.gather(
                    self._direction(self._requests(reader), api),
                    self._direction(_chunks(answers), writer),
                )
        finally:
            self._clients.discard(writer)
            writer.close()

    async def _requests(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        """Yield what a client sends, up to a request that is dropped; record every request."""
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, _ = head.decode("latin-1").split(" ", 2)
            headers = head.lower().replace(b" ", b"")
            if b"\r\ntransfer-encoding:" in headers:
                raise ConnectionAbortedError("the relay cannot tell where a chunked body ends")
            is_websocket = b"\r\nupgrade:websocket" in headers
            request = f"{'WS' if is_websocket else method} {ID.sub('ID', path.partition('?')[0])}"
            self.requests.append((time.time(), request))
            if self.broken_off or (is_websocket and not self._websockets):
                return
            yield head
            length = LENGTH.search(headers)
            left = int(length[1]) if length else 0
            while left and (content := await reader.read(min(left, CHUNK_BYTES))):
                left -= len(content)
                yield content
            if is_websocket:
                async for content in _chunks(reader):
                    yield content
                return

    async def _direction(self, source: AsyncIterator[bytes], sink: asyncio.StreamWriter) -> None:
        """Deliver chunks in order after their delay, and read on meanwhile.

        An empty chunk is the end.
        """
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        reading = asyncio.create_task(self._read(source, under_way))
        try:
            while True:
                due, content = await under_way.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await self._open()
                if not content:
                    return
                sink.write(content)
                await sink.drain()
        finally:
            reading.cancel()
            sink.close()

    async def _read(
        self, source: AsyncIterator[bytes], under_way: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                async for content in source:
                    under_way.put_nowait((self._arrival(), content))
        finally:
            under_way.put_nowait((self._arrival(), b""))

    def _arrival(self) -> float:
        late = RETRANSMISSION_SECONDS if self._chance.random() < self.loss else 0.0
        return time.monotonic() + self.delay_seconds + late

    async def _open(self) -> None:
        while self.suspended:  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(0.05)


def is_write(request: str) -> bool:
    """Return whether the request `METHOD PATH` changes something."""
    return not request.startswith(("GET ", "WS ")) and not request.rstrip("/").endswith(READS)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while content := await reader.read(CHUNK_BYTES):
        yield content


@contextmanager
def relaying(  # noqa: PLR0913 - what `Relay` takes
    port: int,
    *,
    host: str = "127.0.0.1",
    last_write: int | None = None,
    websockets: bool = True,
    listens_on: int = 0,
    prepare: Callable[[], object] = lambda: None,
) -> Iterator[Relay]:
    """Yield a running `Relay`, and drop its open connections at the end.

    `prepare` is first called in the thread of the relay, for example to enter a network namespace.
    """
    relay = Relay(
        port, host=host, last_write=last_write, websockets=websockets, listens_on=listens_on
    )
    ready = threading.Event()

    def run() -> None:
        try:
            prepare()
            asyncio.run(relay.serve(ready))
        finally:
            ready.set()  # after an error, too, so that nobody waits for ever

    thread = threading.Thread(target=run, name="relay")
    thread.start()
    ready.wait()
    try:
        yield relay
    finally:
        relay.end()
        thread.join()
