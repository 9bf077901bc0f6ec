"""Text that no database takes: the character NUL, and lone halves of surrogate pairs.

Both come from bytes that are no text, read as if they were. The server refuses what holds one, and
with it the state in which a run ends, or all the lines of a log that were sent together.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from prefect.client.schemas.objects import State
from prefect.logging.handlers import APILogHandler

if TYPE_CHECKING:
    from logging import LogRecord

REFUSED = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    r"""`text` with what is refused written as in Python's source, as `\x00` and `\ud800`."""
    if REFUSED.search(text) is None:
        return text
    return text.replace("\0", r"\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def clean_what_is_sent() -> None:
    """Have states and lines of logs that this process makes hold only what the server takes.

    tests/unit/test_prefork_cleaning.py fails when an upgrade makes them in another way.
    """
    make, write = State.__init__, APILogHandler.format

    def make_clean(self: State[Any], /, **fields: Any) -> None:
        for name in ("name", "message"):
            if isinstance(text := fields.get(name), str):
                fields[name] = clean(text)
        make(self, **fields)

    def write_clean(self: APILogHandler, record: LogRecord) -> str:
        return clean(write(self, record))

    cast("Any", State).__init__ = make_clean
    cast("Any", APILogHandler).format = write_clean
