"""Which runs a worker has started, on disk, for its next start after it was killed.

Each worker process has a folder, held by a lock while it lives. A folder whose lock is free
belongs to a dead worker; what it names is ended and reported by whoever finds it first.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from worker.prefork import lineage

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK = "lock"
NEW = ".new"  # an entry that is being written
GRACE_SECONDS = 10


@dataclass(frozen=True)
class Entry:
    """A run, and the process that it is."""

    flow_run_id: UUID
    pid: int
    started: str | None
    pid_namespace: str

    def end(self) -> None:
        """End the process if it is still there, with time to end by itself."""
        if self.pid_namespace != _pid_namespace():
            return  # of a container that is gone, and all of it
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while self._alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        self._signal(signal.SIGKILL)

    def _alive(self) -> bool:
        return self.started is not None and lineage.started(self.pid) == self.started

    def _signal(self, number: int) -> None:
        if self._alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Journal:
    """The folder of one worker process under `parent`, which workers of one name share."""

    def __init__(self, parent: Path) -> None:
        """Make the folder and hold it."""
        self._parent = parent
        self._folder = parent / str(uuid4())
        self._folder.mkdir(parents=True, mode=0o700)
        self._lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def add(self, flow_run_id: UUID, pid: int) -> None:
        """Note that `pid` is the run."""
        entry = {"pid": pid, "started": lineage.started(pid), "pid_namespace": _pid_namespace()}
        path = self._folder / str(flow_run_id)
        new = path.with_suffix(NEW)
        new.write_text(json.dumps(entry), encoding="utf-8")
        new.replace(path)

    def remove(self, flow_run_id: UUID) -> None:
        """Note that it has ended."""
        (self._folder / str(flow_run_id)).unlink(missing_ok=True)

    def close(self) -> None:
        """Give the folder up; it is removed when nothing is left in it."""
        if {each.name for each in self._folder.iterdir()} == {LOCK}:
            shutil.rmtree(self._folder)
        os.close(self._lock)

    @contextlib.contextmanager
    def left_behind(self) -> Iterator[list[Entry]]:
        """What workers that are dead have left; forgotten when the block ends without an error."""
        found: list[Entry] = []
        held: list[tuple[int, Path]] = []
        for folder in self._parent.iterdir():
            if folder == self._folder or not (folder / LOCK).exists():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            held.append((lock, folder))
            found += [_read(path) for path in folder.iterdir() if _is_entry(path)]
        try:
            yield found
            for _, folder in held:
                shutil.rmtree(folder)
        finally:
            for lock, _ in held:
                os.close(lock)


def _is_entry(path: Path) -> bool:
    return path.name != LOCK and path.suffix != NEW


def _read(path: Path) -> Entry:
    flow_run_id = UUID(path.name)
    try:
        return Entry(flow_run_id, **json.loads(path.read_text(encoding="utf-8")))
    except ValueError:  # a power cut can leave a file without its content
        return Entry(flow_run_id, pid=0, started=None, pid_namespace="")


def _pid_namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink())
