"""What a service has said that failed, the same for both backends."""

from __future__ import annotations

from server import errors
from server.errors import MistakeError, StackError

TAIL_LINES = 15


def failure(name: str, code: int | None, output: str) -> StackError:
    """Why the service `name` ended with `code`: the error that it reported in its output.

    A process that was killed, or that met a defect, has reported none: its last lines are told.
    """
    error = errors.reported(output)
    if error and error.exit_code == code:
        return error
    kind = MistakeError if code == MistakeError.exit_code else StackError
    return kind(
        f"{name} failed",
        expected="it to end with 0",
        found=f"exit code {code}",
        do=f"scripts/stack logs {name}",
        details=tail(output),
    )


def not_healthy(name: str, found: str, output: str) -> StackError:
    """That a service which should always run has not answered well since it was started."""
    return _ill(f"{name} did not become healthy", "a healthy process", found, output)


def not_steady(name: str, found: str, output: str) -> StackError:
    """That a service which should always run was healthy, and then was not."""
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
    """The last lines of an output, as a person reads them."""
    return "\n".join(errors.without_reports(output).splitlines()[-TAIL_LINES:])
