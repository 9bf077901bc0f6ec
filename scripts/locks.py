"""A lock for the commands that change a stack: a second one waits for the first, and says so."""

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
def hold(stack_name: str, verb: str, folder: Path = FOLDER) -> Iterator[None]:
    """Hold the stack's command lock during the block, and remove its file afterwards.

    `verb` is what another command that waits shows as the reason. The kernel releases the lock when
    the command ends, however it ends. The file has mode 0600, since another user who could open it
    could hold it for ever. If it cannot be created, the block runs without the lock: the command
    itself then reports what is wrong with the folder.
    """
    folder_is_new = not folder.exists()
    path = folder / f"{stack_name}.command"
    try:
        file = _lock(path)
    except OSError:
        yield
        return
    try:
        with contextlib.suppress(OSError):  # on a full disk, whoever waits is not told the reason
            os.ftruncate(file, 0)
            os.pwrite(file, f"pid {os.getpid()}: {verb}".encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
            if folder_is_new:
                folder.rmdir()  # fails, as it should, if the command has put something there
        os.close(file)


def _lock(path: Path) -> int:
    """Open and lock `path`; return the descriptor.

    Raises:
        OSError: it cannot be opened.
    """
    while True:
        path.parent.mkdir(exist_ok=True)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:  # the previous holder has just removed the folder
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 100, 0).decode(errors="replace") or "it has not said which"
            report.err.print(
                f"another scripts/stack command ({holder}) works on this stack; waiting for it"
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        # The previous holder has removed its file: this lock may be on a file that no longer has a
        # name, which the next command would not see.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)
