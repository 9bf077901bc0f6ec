"""Text that no database takes: the character NUL, and lone halves of surrogate pairs.

Both come from bytes that are no text, read as if they were. The server refuses what holds one, and
with it the state in which a run ends, or all the lines of a log that were sent together.
"""

from __future__ import annotations

import re
from typing import Any

REFUSED = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    r"""`text` with what is refused written as in Python's source, as `\x00` and `\ud800`."""
    if REFUSED.search(text) is None:
        return text
    return text.replace("\0", r"\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def clean_all(value: Any) -> Any:
    """`value`, as JSON has it, with all its text clean."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean_all(key): clean_all(each) for key, each in value.items()}
    if isinstance(value, list):
        return [clean_all(each) for each in value]
    return value
