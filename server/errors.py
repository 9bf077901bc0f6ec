"""What a person is told when something is wrong.

One message for each fault: what failed, what was expected, what was found, what to type next. A
process that another one started also reports the fault to its parent, as a line of JSON in its log
(`REPORT`), so that the parent raises the same error.
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
REPORT = "stack-error: "  # begins the line; the rest of it is JSON
PARTS = ("what", "expected", "found", "do", "details")


class StackError(Exception):
    """A fault at run time. Commands that meet one print it and exit with 1."""

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
        """The whole message, a few lines, without a trailing newline."""
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
    """A person's mistake: nothing was changed. Commands that meet one exit with 2."""

    exit_code: ClassVar[int] = 2


def exit_with(main: Callable[[], None]) -> None:
    """Run a one-shot's `main`; print a `StackError` to stderr and exit with its code."""
    try:
        main()
    except StackError as error:
        sys.stderr.write(f"error: {error}\n")
        if REPORT_VARIABLE in os.environ:
            sys.stderr.write(f"{report_line(error)}\n")
        sys.exit(error.exit_code)


def report_line(error: StackError) -> str:
    """The line that reports `error` to the parent; without a trailing newline."""
    parts = {name: getattr(error, name) for name in PARTS}
    return REPORT + json.dumps({**parts, "exit_code": error.exit_code})


def reported(output: str) -> StackError | None:
    """The last error that a process reported in its `output`; None when there is none."""
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
    """`output` for a person, who finds the same errors in it in plain words."""
    lines = output.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(REPORT))
