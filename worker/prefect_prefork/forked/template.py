"""The template: a process with Prefect imported and nothing running, forked for each run.

It never has a second thread, an API client, an API logger or an event loop: a fork copies only one
thread, and locks that the others held stay locked in the child for ever.
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

# Prefect imports these only when a run needs them, which nearly every run does.
ENGINE = (
    *("prefect.engine", "prefect.flow_engine", "prefect.task_engine", "prefect.task_runners"),
    *("prefect._internal.metrics", "prefect._internal.observers", "prefect.deployments.steps.core"),
    *("prefect.events.worker", "prefect.events.clients", "prefect.concurrency.sync"),
    *("prefect.logging.handlers", "prefect.filesystems", "prefect_prefork.forked.child"),
    *("pydantic.v1", "encodings.idna", "stringprep"),
)


def main() -> None:
    """Serve the worker on the other end of the socket whose number is the last argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's business
    channel = socket.socket(fileno=int(sys.argv[-1]))
    worker = os.getppid()
    try:
        order = messages.Order.decode(framing.receive(channel)[0])
    except (framing.ProtocolError, messages.UnknownMessageError) as error:
        framing.send(channel, messages.Refused(reason=str(error)).encode())
        return
    with randomness.noting_seeds():
        for name in ENGINE:
            importlib.import_module(name)
        # These import Prefect: not before the order has come.
        from prefect_prefork import upstream  # noqa: PLC0415
        from prefect_prefork.forked import child, cleaning  # noqa: PLC0415

        upstream.share_certificates()
        cleaning.clean_what_is_sent()
        upstream.retry_first_connections()
        preload.complete_models()
        kept, left_out = preload.keep_warm(order.preload)
    before = child.Before.now()
    sys.stdout.flush()  # else each run prints once more what a module has said
    gc.collect()
    gc.freeze()  # else the first collection in each child copies all of it
    ready = messages.Ready(kept=kept, left_out=left_out, threads=linux.threads())
    framing.send(channel, ready.encode())
    while True:
        try:
            content, files = framing.receive(channel)
        except EOFError:
            return  # the worker has ended, or has another template
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
    """Fork twice: the child of a child that ends becomes the worker's own, which waits for it.

    The answer goes to the last of `files`, a socket that belongs to this request alone.
    """
    from prefect_prefork.forked import child as forked  # noqa: PLC0415 - it is loaded, with Prefect

    *rest, last = files
    with socket.socket(fileno=os.dup(last)) as answer:
        if (threads := linux.threads()) != 1:  # a module may start one long after its import
            refused = messages.Refused(reason=f"it has {threads} threads by now")
            framing.send(answer, refused.encode())
            return
        between = _fork(answer)
        if between:
            os.waitpid(between, 0)
        if between != 0:
            return
        run = _fork(answer)
        if run != 0:
            os._exit(1 if run is None else 0)
        channel.close()
        os.close(last)
        forked.main(answer, worker, before, request, rest)


def _fork(answer: socket.socket) -> int | None:
    """Fork as `os.fork` does; if the kernel refuses, tell the worker and return None."""
    try:
        return os.fork()
    except OSError as error:
        framing.send(answer, messages.Refused(reason=str(error)).encode())
        return None
