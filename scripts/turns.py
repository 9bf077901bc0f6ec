"""Two commands that change one stack take turns: the second waits for the first, and says so."""

from __future__ import annotations

import contextlib
import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scripts import report
from server.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = ROOT / ".stack"


@contextmanager
def turn(stack_name: str, verb: str, folder: Path = FOLDER) -> Iterator[None]:
    """Hold the stack's lock of commands while the block runs; nothing of it is left afterwards.

    The kernel releases the lock when the command ends, however it ends. Only its owner may open it:
    another user could hold it for ever. Where it cannot be made, the command goes on without it and
    finds out itself what is wrong with the folder.
    """
    made = not folder.exists()
    path = folder / f"{stack_name}.command"
    try:
        file = _take(path)
    except OSError:
        yield
        return
    try:
        with contextlib.suppress(OSError):  # on a full disk, whoever waits is not told for whom
            os.ftruncate(file, 0)
            os.pwrite(file, f"pid {os.getpid()}: {verb}".encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
            if made:
                folder.rmdir()  # unless the command has put something there
        os.close(file)


def _take(path: Path) -> int:
    """The open lock, held.

    Raises:
        OSError: it cannot be opened.
    """
    while True:
        path.parent.mkdir(exist_ok=True)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:  # the one before has removed the folder again
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = os.pread(file, 100, 0).decode(errors="replace") or "it has not said which"
            report.err.print(
                f"another scripts/stack command ({said}) works on this stack; waiting for it"
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        # Whoever held it has removed the file: what was waited for may be no file any more.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)
