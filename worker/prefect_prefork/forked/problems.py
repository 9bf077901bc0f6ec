"""Reports from the fork, in one sentence, why a run has ended before its flow began."""

from __future__ import annotations

import contextlib
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from prefect.exceptions import ScriptError
from pydantic import ValidationError

from prefect_prefork.common import framing
from prefect_prefork.common.messages import Problem
from prefect_prefork.forked.sanitization import sanitize
from prefect_prefork.recovery.state_report import is_transient

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from types import TracebackType

MAX_CHARACTERS = 1_000
MAX_TRACEBACK_CHARACTERS = 20_000
INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")})


class StepError(Exception):
    """A step before the flow has failed. The message names the step and the reason."""


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Prefix the message of any error in the block with `what`.

    Raises:
        StepError: in place of any error, except for an outage of the server.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if is_transient(error):
            raise
        reason = describe(error)
        if error.__cause__ is not None:
            reason += f" ({describe(error.__cause__)})"
        raise StepError(f"{what}: {reason}") from error


@contextlib.contextmanager
def report_to(line: socket.socket) -> Iterator[None]:
    """Report any error in the block to the worker over `line`, then exit with code 1.

    An outage of the server is not reported, since the run is given back and tried again.

    Raises:
        SystemExit: in place of any error, also if a module calls `sys.exit`.
    """
    try:
        yield
    except (Exception, SystemExit) as error:  # noqa: BLE001 - every error is reported
        if not is_transient(error):
            cause = error.__cause__ if isinstance(error, StepError) and error.__cause__ else error
            lines = "".join(traceback.format_exception(cause))
            problem = Problem(
                message=sanitize(describe(error)),
                traceback=sanitize(lines[-MAX_TRACEBACK_CHARACTERS:]).rstrip(),
            )
            with contextlib.suppress(OSError):  # the worker is gone
                framing.send(line, problem.encode())
        sys.exit(1)


def describe(error: BaseException) -> str:
    """Describe `error` in one sentence: `SyntaxError in flows/a.py, line 1: invalid syntax`."""
    if isinstance(error, StepError):
        return str(error)
    if isinstance(error, ScriptError):
        error = error.user_exc
    kind, text = type(error).__name__, _text(error)
    if isinstance(error, SyntaxError) and error.filename:
        return f"{kind} in {_name(error.filename)}, line {error.lineno}: {error.msg}"
    if place := _place(error.__traceback__):
        return f"{kind} in {place}: {text}"
    return f"{kind}: {text}"


def _text(error: BaseException) -> str:
    if isinstance(error, ValidationError):  # its own text has many lines, with links
        details = error.errors(include_url=False, include_context=False)
        text = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in details)
    else:
        text = str(error)
    text = " ".join(text.split())
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"


def _place(trace: TracebackType | None) -> str | None:
    """Return the last position in the traceback that is in the user's own code."""
    for frame, line in reversed(list(traceback.walk_tb(trace))):
        file = frame.f_code.co_filename
        if Path(file).is_file() and not file.startswith(INSTALLED):
            return f"{_name(file)}, line {line}"
    return None


def _name(file: str) -> str:
    """Return the path of `file`, relative to the working directory if it is below it."""
    with contextlib.suppress(OSError, ValueError):
        return str(Path(file).resolve().relative_to(Path.cwd()))
    return file
