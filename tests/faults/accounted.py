"""The flow whose runs the suite counts: it writes its beginning and end to a file elsewhere."""

from __future__ import annotations

import contextlib
import os
import time

from prefect import flow
from prefect.concurrency.sync import concurrency


def note(ledger: str, word: str, key: str) -> None:
    """Append a line to the ledger and have it on the disk before going on."""
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, f"{word} {key} {os.getpid()}\n".encode())
        os.fsync(file)
    finally:
        os.close(file)


@flow
def accounted(key: str, ledger: str, seconds: float = 0, limit: str = "", writes: str = "") -> None:
    """Work for `seconds`, holding a slot of a global limit if one is named.

    Args:
        key: Names this run in the ledger.
        ledger: An existing file, which gets a line at the beginning and one at the end.
        seconds: How long the work takes.
        limit: The global concurrency limit that the work needs.
        writes: A file that the work writes 64 kB to.
    """
    note(ledger, "start", key)
    with concurrency(limit, strict=True) if limit else contextlib.nullcontext():
        if writes:
            with open(writes, "wb") as file:  # noqa: PTH123 - the flow stays as plain as a user's
                file.write(b"x" * 65536)
        time.sleep(seconds)
        note(ledger, "end", key)


@flow
def eats(megabytes: int) -> None:
    """Take memory and keep it for a minute, unless the kernel ends the run before."""
    eaten = [b"x" * 2**20 for _ in range(megabytes)]
    time.sleep(60)
    eaten.clear()
