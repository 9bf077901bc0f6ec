"""What a person is told when something is wrong.

One message for each fault: what failed, what was expected, what was found, what to type next.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable


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
        sys.exit(error.exit_code)
