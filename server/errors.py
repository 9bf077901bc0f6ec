"""The errors that commands and services print for people.

A message says what failed, what was expected, what was found, and what to do next. A process of a
stack also reports its error to the process that started it, as a line of JSON in its log
(`REPORT`), so that its parent can raise the same error.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

# Set in the environment of a process whose parent reads its log.
REPORT_VARIABLE = "STACK_REPORTS_ERRORS"
REPORT = "stack-error: "  # the line begins with this, and the rest of it is JSON
PARTS = ("what", "expected", "found", "do", "details")


class StackError(Exception):
    """A failure at run time; commands print it and exit with 1."""

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        expected: str | None = None,
        found: str | None = None,
        do: str | None = None,
        details: str | None = None,
    ) -> None:
        self.what = what
        self.expected = expected
        self.found = found
        self.do = do
        self.details = details
        super().__init__(self.render())

    def render(self) -> str:
        """The whole message of several lines, without a trailing newline."""
        lines = [self.what]
        lines += [
            f"  {label:<9} {text}"
            for label, text in (
                ("expected:", self.expected),
                ("found:", self.found),
                ("do:", self.do),
            )
            if text
        ]
        if self.details:
            lines += ["", *(f"  | {line}" for line in self.details.rstrip().splitlines())]
        return "\n".join(lines)


class MistakeError(StackError):
    """A mistake that a person has to correct; nothing was changed. Commands exit with 2."""

    exit_code: ClassVar[int] = 2


def exit_with(main: Callable[[], None]) -> None:
    """Run `main`; if it raises a `StackError`, print it to stderr and exit with its code."""
    try:
        main()
    except StackError as error:
        sys.stderr.write(f"error: {error}\n")
        if REPORT_VARIABLE in os.environ:
            sys.stderr.write(f"{report_line(error)}\n")
        sys.exit(error.exit_code)


def report_line(error: StackError) -> str:
    """The line that reports `error` to the parent process, without a trailing newline."""
    parts = {name: getattr(error, name) for name in PARTS}
    return REPORT + json.dumps({**parts, "exit_code": error.exit_code})


def reported(output: str) -> StackError | None:
    """The last error that a process reported in its `output`; None if there is none."""
    lines = [line for line in output.splitlines() if line.startswith(REPORT)]
    if not lines:
        return None
    try:
        parts = json.loads(lines[-1].removeprefix(REPORT))
        kind = MistakeError if parts.pop("exit_code") == MistakeError.exit_code else StackError
        return kind(**parts)
    except (ValueError, TypeError, KeyError):  # the log was cut in the middle of the line
        return None


def without_reports(output: str) -> str:
    """`output` for people, without the lines of JSON: it contains the same errors as text."""
    lines = output.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(REPORT))
