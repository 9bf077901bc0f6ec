"""Finds what YAML can say and the server cannot keep.

An integer beyond 64 bits is taken, and then every list that holds it answers 500 (upstream #15031).
A NUL fails in PostgreSQL, half of a surrogate pair and a number that is none on the way there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from server.app.integers import LARGEST, SMALLEST

if TYPE_CHECKING:
    from server.bootstrap.kind import Location


def fault(node: Any, where: Location = ()) -> tuple[Location, str, str] | None:
    """The place of the first value that cannot be kept, what may stand there, and what does."""
    if isinstance(node, dict):
        for key, value in node.items():
            if found := _of_scalar(key, where) or fault(value, (*where, key)):
                return found
        return None
    if isinstance(node, list):
        found_in = (fault(value, (*where, index)) for index, value in enumerate(node))
        return next(filter(None, found_in), None)
    return _of_scalar(node, where)


def _of_scalar(value: Any, where: Location) -> tuple[Location, str, str] | None:
    if isinstance(value, int) and not SMALLEST <= value <= LARGEST:
        return where, "a whole number of 64 bits, or a text", str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return where, "a number", str(value)
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= c <= "\udfff" for c in value)):
        return where, "a text without NUL and without half of a surrogate pair", ascii(value)
    return None
