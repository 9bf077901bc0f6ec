"""A line between a worker and its server that can be slow, lose, or be cut."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK = 65536
# What TCP makes of a packet that is lost on such a line: it comes again this much later.
AGAIN_SECONDS = 1.5


class Line:
    """Hands bytes on to a port of this machine.

    While `cut`, nothing passes and nobody is told: what was sent waits, as does a new connection.
    `delay_seconds` is the way in each direction; of the chunks, `loss` of 1 come again later.
    """

    def __init__(self, port: int) -> None:
        """Know where to; a good line."""
        self.cut = False
        self.delay_seconds = 0.0
        self.loss = 0.0
        self.listens_on = 0
        self.end: Callable[[], object] = lambda: None
        self._port = port
        self._chance = random.Random(1)  # noqa: S311 - no secret

    @property
    def address(self) -> str:
        """What to ask instead of the API's own address."""
        return f"http://127.0.0.1:{self.listens_on}/api"

    async def serve(self, ready: threading.Event) -> None:
        """Take connections until `end` is called from another thread."""
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.end = lambda: loop.call_soon_threadsafe(over.set)
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.listens_on = server.sockets[0].getsockname()[1]
        ready.set()
        await over.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            await asyncio.gather(self._direction(reader, back), self._direction(there, writer))

    async def _direction(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Read on while what was read is still on its way; in the order that it was sent."""
        on_its_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        reading = asyncio.create_task(self._read(source, on_its_way))
        try:
            while True:
                due, content = await on_its_way.get()
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
        self, source: asyncio.StreamReader, on_its_way: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        content = b"-"
        while content:
            try:
                content = await source.read(CHUNK)
            except OSError:
                content = b""
            late = AGAIN_SECONDS if self._chance.random() < self.loss else 0.0
            await on_its_way.put((time.monotonic() + self.delay_seconds + late, content))

    async def _open(self) -> None:
        while self.cut:  # noqa: ASYNC110 - another thread cuts it
            await asyncio.sleep(0.05)


@contextmanager
def laid(port: int) -> Iterator[Line]:
    """A line to the API on `port`; what still is on it in the end is dropped."""
    line, ready = Line(port), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(line.serve(ready)), name="line")
    thread.start()
    ready.wait()
    try:
        yield line
    finally:
        line.end()
        thread.join()
