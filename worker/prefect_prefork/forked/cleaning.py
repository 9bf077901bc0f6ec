"""Escapes characters that no database accepts: NUL, and lone halves of surrogate pairs.

Both come from binary data that was read as text. The server rejects a state whose message holds
one, and all lines of a log that are sent together with one.
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
    r"""Return `text` with those characters written as in Python's source: `\x00`, `\ud800`."""
    if REFUSED.search(text) is None:
        return text
    return text.replace("\0", r"\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def clean_what_is_sent() -> None:
    """Escape such characters in all states and log lines that this process makes.

    tests/unit/test_prefork_cleaning.py fails if a new version of Prefect makes them in another way.
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
