"""Builds the error of a failed service, in the same words for both backends."""

from __future__ import annotations

from server import errors
from server.errors import MistakeError, StackError

TAIL_LINES = 15


def failure(name: str, code: int | None, output: str) -> StackError:
    """The error of the service `name`, which exited with `code`.

    It is the error that the process reported in its `output`. A process that was killed or ended
    with a traceback has reported none; then the error shows its last lines.
    """
    error = errors.reported(output)
    if error and error.exit_code == code:
        return error
    kind = MistakeError if code == MistakeError.exit_code else StackError
    return kind(
        f"{name} failed",
        expected="exit code 0",
        found=f"exit code {code}",
        do=f"scripts/stack logs {name}",
        details=tail(output),
    )


def not_healthy(name: str, found: str, output: str) -> StackError:
    """The error of a service that should always run and has not been healthy since its start."""
    return _ill(f"{name} did not become healthy", "a healthy process", found, output)


def not_steady(name: str, found: str, output: str) -> StackError:
    """The error of a service that was healthy and did not stay so."""
    return _ill(f"{name} did not stay up", "a process that stays healthy", found, output)


def _ill(what: str, expected: str, found: str, output: str) -> StackError:
    return StackError(
        what,
        expected=expected,
        found=found,
        do="correct what its last lines say, then: scripts/stack up",
        details=tail(output),
    )


def tail(output: str) -> str:
    """The last lines of `output`, without the lines of JSON that report errors."""
    return "\n".join(errors.without_reports(output).splitlines()[-TAIL_LINES:])
