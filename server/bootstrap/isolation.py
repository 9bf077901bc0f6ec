"""Runs code that may hang, exit or change its process: in a fork, with a deadline per answer.

A fork and not a new interpreter: Prefect is imported already, which takes longer than all the rest.
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
    """The fork ended, or was ended, before it answered a task."""

    reason: str


def run_each(
    tasks: Sequence[Task],
    work: Callable[[Task], Any],
    *,
    seconds: float,
    prepare: Callable[[], None] = lambda: None,
) -> Iterator[Any]:
    """The answer of `work` to each task, which has to be JSON, or an `Ended`.

    All tasks share one fork, which calls `prepare` first, unless one ends it: those after it get
    the next. What is printed meanwhile goes nowhere.
    """
    done = 0
    while done < len(tasks):
        for answer in _fork(tasks[done:], work, prepare, seconds):
            done += 1
            yield answer


def _fork(
    tasks: Sequence[Task], work: Callable[[Task], Any], prepare: Callable[[], None], seconds: float
) -> Iterator[Any]:
    """The answers of one fork, up to the first `Ended`."""
    out, into = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of threads; the fork uses no lock that one of them could hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(out)
        _answer_all(tasks, work, prepare, into)
    os.close(into)
    status: int | None = None
    try:
        lines = _lines(out, seconds)
        for _ in tasks:
            try:
                line = next(lines, None)
            except TimeoutError:
                yield Ended(f"it takes longer than {seconds:.0f} seconds")
                return
            if line is None:
                _, status = os.waitpid(child, 0)
                yield Ended(_say(os.waitstatus_to_exitcode(status)))
                return
            yield json.loads(line)
    finally:
        os.close(out)
        if status is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _answer_all(
    tasks: Sequence[Task], work: Callable[[Task], Any], prepare: Callable[[], None], into: int
) -> None:
    """Answer all tasks in the fork, and exit."""
    code = 1
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nowhere, standard)
        prepare()
        for task in tasks:
            os.write(into, json.dumps(work(task)).encode() + b"\n")
        code = 0
    finally:
        os._exit(code)


def _lines(out: int, seconds: float) -> Iterator[bytes]:
    """The lines that the fork writes, each within `seconds` of the one before."""
    held = b""
    while True:
        deadline = time.monotonic() + seconds
        while b"\n" not in held:
            ready, _, _ = select.select([out], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            chunk = os.read(out, CHUNK)
            if not chunk:
                return
            held += chunk
        line, held = held.split(b"\n", 1)
        yield line


def _say(code: int) -> str:
    return (
        f"its process ended with signal {-code}" if code < 0 else f"its process ended with {code}"
    )
