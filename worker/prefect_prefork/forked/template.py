"""The template: a process that has imported Prefect, runs nothing, and is forked for each run.

It never has a second thread, an API client, an API logger or an event loop: a fork copies only one
thread, and locks that other threads held would stay locked in the child for ever.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

from prefect_prefork.common import framing, linux, messages
from prefect_prefork.forked import preload, randomness

if TYPE_CHECKING:
    from prefect_prefork.forked import child

# Prefect imports these only when a run needs them, but nearly every run does.
ENGINE = (
    *("prefect.engine", "prefect.flow_engine", "prefect.task_engine", "prefect.task_runners"),
    *("prefect._internal.metrics", "prefect._internal.observers", "prefect.deployments.steps.core"),
    *("prefect.events.worker", "prefect.events.clients", "prefect.concurrency.sync"),
    *("prefect.logging.handlers", "prefect.filesystems", "prefect_prefork.forked.child"),
    *("pydantic.v1", "encodings.idna", "stringprep"),
)


def main() -> None:
    """Serve the worker on the other end of the socket whose number is the last argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker handles Ctrl-C
    channel = socket.socket(fileno=int(sys.argv[-1]))
    worker = os.getppid()
    try:
        order = messages.Order.decode(framing.receive(channel)[0])
    except (framing.ProtocolError, messages.UnknownMessageError) as error:
        framing.send(channel, messages.Refused(reason=str(error)).encode())
        return
    with randomness.recording_seeds():
        for name in ENGINE:
            importlib.import_module(name)
        # These import Prefect, which has to wait until the order is read.
        from prefect_prefork import upstream  # noqa: PLC0415
        from prefect_prefork.forked import child, sanitization  # noqa: PLC0415

        upstream.share_certificates()
        sanitization.sanitize_outgoing()
        upstream.retry_first_connections()
        preload.complete_models()
        kept, left_out = preload.keep_warm(order.preload)
    before = child.Before.now()
    sys.stdout.flush()  # otherwise each run would repeat what a module has printed
    gc.collect()
    gc.freeze()  # otherwise the first collection in each child would copy all of the heap
    ready = messages.Ready(kept=kept, left_out=left_out, threads=linux.threads())
    framing.send(channel, ready.encode())
    while True:
        try:
            content, files = framing.receive(channel)
        except EOFError:
            return  # the worker has ended, or has replaced this template
        _spawn(channel, worker, before, messages.Request.decode(content), files)
        for file in files:
            os.close(file)


def _spawn(
    channel: socket.socket,
    worker: int,
    before: child.Before,
    request: messages.Request,
    files: list[int],
) -> None:
    """Fork twice, so that the run becomes a child of the worker when the first child exits.

    The worker is a subreaper, and waits for the run. The answer goes to the last of `files`, a
    socket for this request alone.
    """
    from prefect_prefork.forked import child as forked  # noqa: PLC0415 - already loaded, with Prefect

    *rest, last = files
    with socket.socket(fileno=os.dup(last)) as answer:
        if (threads := linux.threads()) != 1:  # a module may start one long after it was imported
            refused = messages.Refused(reason=f"it has {threads} threads by now")
            framing.send(answer, refused.encode())
            return
        intermediate = _fork(answer)
        if intermediate:
            os.waitpid(intermediate, 0)
        if intermediate != 0:
            return
        run = _fork(answer)
        if run != 0:
            os._exit(1 if run is None else 0)
        channel.close()
        os.close(last)
        forked.main(answer, worker, before, request, rest)


def _fork(answer: socket.socket) -> int | None:
    """Fork like `os.fork`; if the kernel refuses, tell the worker and return None."""
    try:
        return os.fork()
    except OSError as error:
        framing.send(answer, messages.Refused(reason=str(error)).encode())
        return None
