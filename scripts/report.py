"""Shows the progress of a command: a spinner in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator

# Without markup: a password or a message may contain [brackets] or :colons:.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


class Steps:
    """Prints a line for each step that has ended, with how long it took."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown: set[str] = set()

    @property
    def seconds(self) -> float:
        """The time since this object was created."""
        return time.monotonic() - self._began

    def done(self, name: str, seconds: float | None = None, note: str = "") -> None:
        """Print that the step `name` has ended; later calls with the same name print nothing."""
        if name in self._shown:
            return
        self._shown.add(name)
        took = "" if seconds is None else f"{seconds:5.1f} s"
        out.print(f"  {name:<10} {took:>7}  {note}".rstrip())


def last_line(text: str) -> str:
    """The last line of a command's output, where it sums up what it has done."""
    return text.rstrip().rpartition("\n")[2]


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show `text` while the block runs."""
    if out.is_terminal:
        with out.status(text):
            yield
    else:
        out.print(f"{text} ...")
        yield
