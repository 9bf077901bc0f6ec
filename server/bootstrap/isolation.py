"""Runs code that may hang, exit or change its process in a fork, with a deadline per task.

A fork is used instead of a new interpreter because Prefect is already imported in it, and importing
Prefect takes longer than everything else here.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Task = TypeVar("Task")
CHUNK = 65536  # bytes


@dataclass(frozen=True)
class Ended:
    """The answer to a task during which the fork exited, was killed or exceeded its deadline."""

    reason: str


def run_each(
    tasks: Sequence[Task],
    work: Callable[[Task], Any],
    *,
    seconds: float,
    prepare: Callable[[], None] = lambda: None,
) -> Iterator[Any]:
    """Call `work` for each task in a fork, and yield its results, or `Ended` for a failed task.

    All tasks share one fork; after a task that ended it, the remaining tasks get a new one. Output
    of the fork is discarded.

    Args:
        tasks: the arguments for `work`.
        work: returns a value that JSON can represent.
        seconds: the deadline for each task.
        prepare: called in each fork before its first task.
    """
    done = 0
    while done < len(tasks):
        for answer in _fork(tasks[done:], work, prepare, seconds):
            done += 1
            yield answer


def _fork(
    tasks: Sequence[Task], work: Callable[[Task], Any], prepare: Callable[[], None], seconds: float
) -> Iterator[Any]:
    """Yield the answers of one fork, up to and including the first `Ended`."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns about forks with threads; this one uses no lock that a thread may hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(read_end)
        _answer_all(tasks, work, prepare, write_end)
    os.close(write_end)
    status: int | None = None
    try:
        lines = _read_lines(read_end, seconds)
        for _ in tasks:
            try:
                line = next(lines, None)
            except TimeoutError:
                yield Ended(f"it takes longer than {seconds:g} seconds")
                return
            if line is None:
                _, status = os.waitpid(child, 0)
                yield Ended(_describe_exit(os.waitstatus_to_exitcode(status)))
                return
            yield json.loads(line)
    finally:
        os.close(read_end)
        if status is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _answer_all(
    tasks: Sequence[Task], work: Callable[[Task], Any], prepare: Callable[[], None], write_end: int
) -> None:
    """Answer all tasks inside the fork, one line of JSON each, and exit."""
    code = 1
    try:
        devnull = os.open(os.devnull, os.O_RDWR)
        for standard_stream in (0, 1, 2):
            os.dup2(devnull, standard_stream)
        prepare()
        for task in tasks:
            os.write(write_end, json.dumps(work(task)).encode() + b"\n")
        code = 0
    finally:
        os._exit(code)


def _read_lines(read_end: int, seconds: float) -> Iterator[bytes]:
    """Yield the lines that the fork writes.

    Raises:
        TimeoutError: a line did not arrive within `seconds` of the previous one.
    """
    buffer = b""
    while True:
        deadline = time.monotonic() + seconds
        while b"\n" not in buffer:
            ready, _, _ = select.select([read_end], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            chunk = os.read(read_end, CHUNK)
            if not chunk:
                return
            buffer += chunk
        line, buffer = buffer.split(b"\n", 1)
        yield line


def _describe_exit(code: int) -> str:
    return (
        f"its process ended with signal {-code}" if code < 0 else f"its process ended with {code}"
    )
