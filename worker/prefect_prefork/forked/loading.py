"""In the fork: tells in one sentence why a run has ended before its flow began."""

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
from prefect_prefork.forked.cleaning import clean
from prefect_prefork.recovery.ends import passes

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from types import TracebackType

MAX_CHARACTERS = 1_000
MAX_TRACEBACK_CHARACTERS = 20_000
INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")})


class StepError(Exception):
    """A step before the flow has failed. The message says which step, and why."""


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Put `what` before the message of an error.

    Raises:
        StepError: in place of any error other than an outage of the server.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if passes(error):
            raise
        reason = why(error)
        if error.__cause__ is not None:
            reason += f" ({why(error.__cause__)})"
        raise StepError(f"{what}: {reason}") from error


@contextlib.contextmanager
def telling(line: socket.socket) -> Iterator[None]:
    """Tell the worker over `line` if an error is raised.

    An outage of the server is not reported, since the run will be given back and tried again.

    Raises:
        SystemExit: in place of any other error, and also if a module calls `sys.exit`.
    """
    try:
        yield
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is told
        if not passes(error):
            cause = error.__cause__ if isinstance(error, StepError) and error.__cause__ else error
            lines = "".join(traceback.format_exception(cause))
            problem = Problem(
                message=clean(why(error)),
                traceback=clean(lines[-MAX_TRACEBACK_CHARACTERS:]).rstrip(),
            )
            with contextlib.suppress(OSError):  # the worker is gone
                framing.send(line, problem.encode())
        sys.exit(1)


def why(error: BaseException) -> str:
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
        found = error.errors(include_url=False, include_context=False)
        text = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found)
    else:
        text = str(error)
    text = " ".join(text.split())
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"


def _place(found: TracebackType | None) -> str | None:
    """Return the last line of the traceback that is in the user's own code."""
    for frame, line in reversed(list(traceback.walk_tb(found))):
        file = frame.f_code.co_filename
        if Path(file).is_file() and not file.startswith(INSTALLED):
            return f"{_name(file)}, line {line}"
    return None


def _name(file: str) -> str:
    """Return the path of `file`, relative if it is below the working directory."""
    with contextlib.suppress(OSError, ValueError):
        return str(Path(file).resolve().relative_to(Path.cwd()))
    return file
