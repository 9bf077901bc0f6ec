"""Which runs a worker has taken, on disk, for its next start after it was killed.

Each worker process has a folder, held by a lock while it lives. A folder whose lock is free
belongs to a dead worker; whoever finds it first takes it over. In it are a file for each run, with
the process that it is, and, while its end is reported, a second one with that: see `ends`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from prefect_prefork import END
from prefect_prefork.common import linux
from prefect_prefork.recovery.ends import End

if TYPE_CHECKING:
    import logging
    from typing import Any

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

    @property
    def is_readable(self) -> bool:
        """Whether anything is noted; a power cut can leave a file without its content."""
        return bool(self.pid_namespace)

    @property
    def end(self) -> End | None:
        """What is to be reported of it; None where nobody has written that down."""
        return End.read(self.path.with_suffix(END))

    def write_end(self, end: End) -> None:
        """Keep what is to be reported of it.

        Raises:
            OSError: the disk is full or gone.
        """
        end.write(self.path.with_suffix(END))

    async def stop(self) -> None:
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
        for path in (self.path, self.path.with_suffix(END)):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _alive(self) -> bool:
        return self.started is not None and linux.started(self.pid) == self.started

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


class Journal:
    """The folder of one worker process under `parent`, which workers of one name share."""

    def __init__(self, parent: Path, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        """Make the folder and hold it.

        Raises:
            OSError: that cannot be.
        """
        self._parent = parent
        self._logger = logger
        self._before: dict[UUID, str | None] = {}
        self._taken_over: list[tuple[Path, int]] = []
        self._lock: int | None = None
        while self._lock is None:  # until it is held, another worker may take it for a dead one's
            self._folder = parent / str(uuid4())
            self._folder.mkdir(parents=True, mode=0o700)
            self._lock = _hold(self._folder, ours=True)

    def take(self, flow_run_id: UUID, before: str | None) -> None:
        """Note that the run is taken.

        Args:
            flow_run_id: the run.
            before: what the API has named as its process by then, which was an earlier one.

        Raises:
            OSError: the disk is full or gone; the run is not to be taken.
        """
        self._before[flow_run_id] = before
        self._write(flow_run_id, 0)

    def start(self, flow_run_id: UUID, pid: int) -> None:
        """Note that `pid`, which leads a process group, is the run.

        On a full disk it is said in the log only: should the worker be killed just then, the run's
        process ends with it, and the run is found by its heartbeat.
        """
        try:
            self._write(flow_run_id, pid)
        except OSError as error:
            self._logger.warning("The process of a run could not be written down: %s", error)

    def entry(self, flow_run_id: UUID) -> Entry:
        """What is noted of a run of this worker."""
        return _read(self._folder / str(flow_run_id))

    def end_path(self, flow_run_id: UUID) -> Path:
        """Where a run is to write how it ends."""
        return self._folder / f"{flow_run_id}{END}"

    def remove(self, flow_run_id: UUID) -> None:
        """Note that it has ended and is reported, or is not to begin."""
        self._before.pop(flow_run_id, None)
        Entry(self._folder / str(flow_run_id), flow_run_id).forget()

    def take_over(self) -> list[Entry]:
        """What dead workers have left; what is not forgotten until `close` is the next start's."""
        entries: list[Entry] = []
        for folder in self._parent.iterdir():
            if folder == self._folder:
                continue
            try:
                if (lock := _hold(folder, ours=False)) is None:
                    continue
                self._taken_over.append((folder, lock))
                entries += [_read(path) for path in folder.iterdir() if _is_entry(path)]
            except OSError as error:
                self._logger.warning("The journal of a worker cannot be read: %s", error)
        return entries

    def close(self) -> None:
        """Give the folders up; each is removed when nothing is left in it."""
        for folder, lock in [(self._folder, self._lock), *self._taken_over]:
            _give_up(folder, lock)

    def _write(self, flow_run_id: UUID, pid: int) -> None:
        entry = {
            "pid": pid,
            "started": linux.started(pid) if pid else None,
            "pid_namespace": _pid_namespace(),
            "before": self._before.get(flow_run_id),
        }
        path = self._folder / str(flow_run_id)
        new = path.with_suffix(NEW)
        new.write_text(json.dumps(entry), encoding="utf-8")
        new.replace(path)


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
    """Remove the folder unless it holds an entry, or a file that is none of ours."""
    with contextlib.suppress(OSError):
        left = set(folder.iterdir())
        if not any(map(_is_entry, left)):
            for path in left:
                if path.name == LOCK or path.suffix in {NEW, END}:
                    path.unlink(missing_ok=True)
            folder.rmdir()
    if lock is not None:
        os.close(lock)


def _is_entry(path: Path) -> bool:
    """Whether it is one of ours: whatever else lies in the folder is left alone."""
    try:
        UUID(path.name)
    except ValueError:
        return False
    return path.is_file()


def _read(path: Path) -> Entry:
    flow_run_id = UUID(path.name)
    try:
        return Entry(path, flow_run_id, **json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Entry(path, flow_run_id)


def _pid_namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink())
