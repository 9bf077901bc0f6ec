"""Escapes characters that PostgreSQL cannot store: NUL, and unpaired surrogates.

Both come from binary data that was read as text. The server rejects a state whose message contains
such a character, and every log line in a request with one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from prefect.client.schemas.objects import State
from prefect.logging.handlers import APILogHandler

if TYPE_CHECKING:
    from logging import LogRecord

REFUSED = re.compile("[\x00\ud800-\udfff]")


def sanitize(text: str) -> str:
    r"""Return `text` with those characters escaped as in Python source code: `\x00`, `\ud800`."""
    if REFUSED.search(text) is None:
        return text
    return text.replace("\0", r"\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def sanitize_outgoing() -> None:
    """Sanitize all states and log lines that this process creates.

    tests/unit/test_prefork_sanitization.py fails if a new version of Prefect creates them in
    another way.
    """
    init, render = State.__init__, APILogHandler.format

    def init_sanitized(self: State[Any], /, **fields: Any) -> None:
        for name in ("name", "message"):
            if isinstance(text := fields.get(name), str):
                fields[name] = sanitize(text)
        init(self, **fields)

    def render_sanitized(self: APILogHandler, record: LogRecord) -> str:
        return sanitize(render(self, record))

    cast("Any", State).__init__ = init_sanitized
    cast("Any", APILogHandler).format = render_sanitized
