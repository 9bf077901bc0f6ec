"""Records on disk which runs a worker has taken, for the next start after it was killed.

Each worker process has a folder, which it locks while it lives. A folder that is not locked belongs
to a dead worker, and the first worker that finds it takes it over. It holds a file for each run,
which names the process of the run, and a second file while its end is reported: see `state_report`.
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
from prefect_prefork.recovery.state_report import StateReport

if TYPE_CHECKING:
    import logging
    from typing import Any

LOCK = "lock"
NEW = ".new"  # an entry that is being written
GRACE_SECONDS = 10
LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Entry:
    """The record of a run and its process."""

    path: Path
    flow_run_id: UUID
    pid: int = 0  # 0 until the run has a process
    started: str | None = None
    pid_namespace: str = ""
    before: str | None = None  # the process that the server named when the run was taken

    @property
    def is_readable(self) -> bool:
        """Whether the file has content, which it may have lost in a power cut."""
        return bool(self.pid_namespace)

    @property
    def end(self) -> StateReport | None:
        """The final state that is to be reported; None if nobody has written one."""
        return StateReport.read(self.path.with_suffix(END))

    def write_end(self, end: StateReport) -> None:
        """Keep the final state that is to be reported.

        Raises:
            OSError: the disk is full or gone.
        """
        end.write(self.path.with_suffix(END))

    async def stop(self) -> None:
        """End the process and its group if it is still alive: by SIGTERM, then by SIGKILL."""
        if self.pid_namespace != _pid_namespace():
            return  # its container is gone, with all processes
        if not self._alive():
            return
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while self._alive() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)
        self._signal(signal.SIGKILL)  # the id is not reused while the group has a process

    def forget(self) -> None:
        """Remove the files of the run."""
        for path in (self.path, self.path.with_suffix(END)):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _alive(self) -> bool:
        return self.started is not None and linux.started(self.pid) == self.started

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


class Journal:
    """The folder of one worker process in `parent`, which all workers of the same name share."""

    def __init__(self, parent: Path, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        """Make the folder and lock it.

        Raises:
            OSError: the folder cannot be made or locked.
        """
        self._parent = parent
        self._logger = logger
        self._before: dict[UUID, str | None] = {}
        self._taken_over: list[tuple[Path, int]] = []
        self._lock: int | None = None
        # Until the folder is locked, another worker may remove it, as that of a dead one.
        while self._lock is None:
            self._folder = parent / str(uuid4())
            self._folder.mkdir(parents=True, mode=0o700)
            self._lock = _hold(self._folder, ours=True)

    def take(self, flow_run_id: UUID, before: str | None) -> None:
        """Record that the run is taken.

        Args:
            flow_run_id: the run.
            before: the process that the server names at this time, that of an earlier attempt.

        Raises:
            OSError: the disk is full or gone, and the run must not be taken.
        """
        self._before[flow_run_id] = before
        self._write(flow_run_id, 0)

    def start(self, flow_run_id: UUID, pid: int) -> None:
        """Record that `pid`, which leads a process group, is the process of the run.

        If the disk is full, this only goes to the log. Should the worker then be killed, the run's
        process ends with it, and the server misses the run's heartbeat.
        """
        try:
            self._write(flow_run_id, pid)
        except OSError as error:
            self._logger.warning("The process of a run could not be written down: %s", error)

    def entry(self, flow_run_id: UUID) -> Entry:
        """Return the record of a run of this worker."""
        return _read(self._folder / str(flow_run_id))

    def end_path(self, flow_run_id: UUID) -> Path:
        """Return the path of the file to which a run has to write its final state."""
        return self._folder / f"{flow_run_id}{END}"

    def remove(self, flow_run_id: UUID) -> None:
        """Remove the record of a run that has ended and is reported, or that is not to begin."""
        self._before.pop(flow_run_id, None)
        Entry(self._folder / str(flow_run_id), flow_run_id).forget()

    def take_over(self) -> list[Entry]:
        """Return the entries of dead workers; those not forgotten before `close` stay there."""
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
        """Unlock the folders, and remove those that hold no run."""
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
    """Lock a folder, whose lock is created if it is `ours`; None if another holds or removed it."""
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
    """Unlock the folder; remove it unless it holds an entry, or a file of somebody else."""
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
    """Return whether the file is an entry, whose name is the id of a run; ignore all others."""
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
