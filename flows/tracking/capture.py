"""Captures what the job logs and prints, without changing how it logs and prints."""

from __future__ import annotations

import builtins
import functools
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

Take = Callable[[str, int, str], None]  # the name of the logger, the level, the message

MESSAGE_LENGTH = 20_000
_taken: list[Take] = []


def install(take: Take) -> None:
    """Pass every line that the job logs or prints from now on to `take`.

    Only the first call in a process has an effect. Records are captured where they are created,
    since a handler would change what the job's own `logging.basicConfig` does. A message below the
    level of its logger creates no record.
    """
    if _taken:
        return
    _taken.append(take)
    logging.setLogRecordFactory(_recording(logging.getLogRecordFactory()))
    builtins.print = _printing(builtins.print)


def clean(text: str) -> str:
    """Return `text` without characters that the server cannot store, cut to a maximum length."""
    kept = text.replace("\0", "").encode(errors="replace").decode()
    return kept if len(kept) <= MESSAGE_LENGTH else kept[:MESSAGE_LENGTH] + " ... (cut)"


def _recording(make: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    @functools.wraps(make)
    def record_factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if _chosen(record.name):
            _hand_over(lambda: (record.name, record.levelno, _message(record)))
        return record

    return record_factory


def _printing(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def print_and_record(*values: object, **kwargs: Any) -> None:
        original(*values, **kwargs)
        if kwargs.get("file") in {None, sys.stdout, sys.stderr}:
            sep = kwargs.get("sep")
            joined = (" " if sep is None else sep).join
            _hand_over(lambda: ("print", logging.INFO, joined(str(value) for value in values)))

    return print_and_record


def _hand_over(line: Callable[[], tuple[str, int, str]]) -> None:
    try:
        name, level, text = line()
        _taken[0](name, level, clean(text))
    except Exception:  # noqa: BLE001, S110 - the job's own logging reports an invalid line
        pass


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info and record.exc_info[0]:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text


def _chosen(name: str | None) -> bool:
    if name is None or name == "tracking":  # `makeLogRecord` copies a record, without a name
        return False
    names = os.environ.get("PREFECT_LOGGING_EXTRA_LOGGERS", "").replace(",", " ").split()
    return not names or any(name == parent or name.startswith(f"{parent}.") for parent in names)
