"""Which runs a worker has taken, on disk, for its next start after it was killed.

Each worker process has a folder, held by a lock while it lives. A folder whose lock is free
belongs to a dead worker; what it names is ended and reported by whoever finds it first.
"""

from __future__ import annotations

import asyncio
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
LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Entry:
    """A run, and the process that it is."""

    path: Path
    flow_run_id: UUID
    pid: int = 0  # none yet
    started: str | None = None
    pid_namespace: str = ""
    before: str | None = None  # what the API named as its process when the run was taken

    async def end(self) -> None:
        """End the process, with all of its group, if it is still there; it is asked to first."""
        if self.pid_namespace != _pid_namespace():
            return  # of a container that is gone, and all of it
        if not self._alive():
            return
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while self._alive() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)
        self._signal(signal.SIGKILL)  # no other group has its number as long as this one is there

    def forget(self) -> None:
        """Have no later start find it."""
        self.path.unlink(missing_ok=True)

    def _alive(self) -> bool:
        return self.started is not None and lineage.started(self.pid) == self.started

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


class Journal:
    """The folder of one worker process under `parent`, which workers of one name share."""

    def __init__(self, parent: Path) -> None:
        """Make the folder and hold it."""
        self._parent = parent
        self._before: dict[UUID, str | None] = {}
        self._lock: int | None = None
        while self._lock is None:  # until it is held, another worker may take it for a dead one's
            self._folder = parent / str(uuid4())
            self._folder.mkdir(parents=True, mode=0o700)
            self._lock = _hold(self._folder, ours=True)

    def add(self, flow_run_id: UUID, pid: int = 0, before: str | None = None) -> None:
        """Note that the run is taken, then that `pid`, which leads a process group, is the run.

        Args:
            flow_run_id: the run.
            pid: 0 as long as it has no process.
            before: what the API has named as its process by then, which was an earlier one.
        """
        before = self._before.setdefault(flow_run_id, before)
        entry = {
            "pid": pid,
            "started": lineage.started(pid) if pid else None,
            "pid_namespace": _pid_namespace(),
            "before": before,
        }
        path = self._folder / str(flow_run_id)
        new = path.with_suffix(NEW)
        new.write_text(json.dumps(entry), encoding="utf-8")
        new.replace(path)

    def remove(self, flow_run_id: UUID) -> None:
        """Note that it has ended and is reported, or is not to begin."""
        self._before.pop(flow_run_id, None)
        (self._folder / str(flow_run_id)).unlink(missing_ok=True)

    def close(self) -> None:
        """Give the folder up; it is removed when nothing is left in it."""
        _give_up(self._folder, self._lock)

    @contextlib.contextmanager
    def left_behind(self) -> Iterator[list[Entry]]:
        """What workers that are dead have left; what is not forgotten is left to the next start."""
        found: list[Entry] = []
        held: list[tuple[Path, int]] = []
        for folder in self._parent.iterdir():
            if folder != self._folder and (lock := _hold(folder, ours=False)) is not None:
                held.append((folder, lock))
                found += [_read(path) for path in folder.iterdir() if _is_entry(path)]
        try:
            yield found
        finally:
            for folder, lock in held:
                _give_up(folder, lock)


def _hold(folder: Path, *, ours: bool) -> int | None:
    """Its lock, made if it is ours; None when another one has it, or has removed it meanwhile."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | (os.O_CREAT if ours else 0), 0o600)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if ours else fcntl.LOCK_NB))
        if os.fstat(lock).st_nlink:
            return lock
    except BlockingIOError:
        pass
    os.close(lock)
    return None


def _give_up(folder: Path, lock: int | None) -> None:
    if not any(map(_is_entry, folder.iterdir())):
        shutil.rmtree(folder)
    if lock is not None:
        os.close(lock)


def _is_entry(path: Path) -> bool:
    return path.name != LOCK and path.suffix != NEW


def _read(path: Path) -> Entry:
    flow_run_id = UUID(path.name)
    try:
        return Entry(path, flow_run_id, **json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):  # a power cut can leave a file without its content
        return Entry(path, flow_run_id)


def _pid_namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink())
