"""Says what is going on: a spinner in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator

# What is printed is a login, an address, somebody's words: nothing in it is markup.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


class Steps:
    """A line for each step that ends, with how long it took."""

    def __init__(self) -> None:
        """Begin to count."""
        self._began = time.monotonic()
        self._shown: set[str] = set()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def done(self, name: str, seconds: float | None = None, note: str = "") -> None:
        """Say once that the step `name` has ended."""
        if name in self._shown:
            return
        self._shown.add(name)
        took = "" if seconds is None else f"{seconds:5.1f} s"
        out.print(f"  {name:<10} {took:>7}  {note}".rstrip())


def last_line(text: str) -> str:
    """What a command that has said much has summed up in the end."""
    return text.rstrip().rpartition("\n")[2]


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show that something goes on while the block runs."""
    if out.is_terminal:
        with out.status(text):
            yield
    else:
        out.print(f"{text} ...")
        yield
