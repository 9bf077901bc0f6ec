"""Checks values as the server does, before they are sent to it.

A value may not be what its JSON schema asks for, or it may be one that YAML can express and the
server cannot store. An integer beyond 64 bits is accepted, and from then on every list that
contains it answers 500 (upstream #15031). A NUL fails in PostgreSQL; a lone surrogate and a
number that is not finite fail on the way there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from prefect.utilities.schema_tools.validation import (
    CircularSchemaRefError,
    ValidationError,
    validate,
)

from server.app.integers import LARGEST, SMALLEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.bootstrap.resource import Location


def schema_errors(
    value: Mapping[str, Any], schema: Mapping[str, Any], *, none_for_default: bool = False
) -> list[Any]:
    """What is wrong with the given fields of `schema`.

    Empty where the schema cannot be followed (the server gives that of a secret block with a
    reference to a definition that it lacks): then the server itself has to judge.
    """
    try:
        return validate(
            dict(value),
            dict(schema),
            ignore_required=True,
            allow_none_with_default=none_for_default,
        )
    except (ValidationError, CircularSchemaRefError):
        return []


def unstorable(node: Any, where: Location = ()) -> tuple[Location, str, str] | None:
    """The place of the first value that cannot be stored, what is expected there, and the value."""
    if isinstance(node, dict):
        for key, value in node.items():
            if found := _unstorable_scalar(key, where) or unstorable(value, (*where, key)):
                return found
        return None
    if isinstance(node, list):
        found_in = (unstorable(value, (*where, index)) for index, value in enumerate(node))
        return next(filter(None, found_in), None)
    return _unstorable_scalar(node, where)


def _unstorable_scalar(value: Any, where: Location) -> tuple[Location, str, str] | None:
    if isinstance(value, int) and not SMALLEST <= value <= LARGEST:
        return where, "a whole number of 64 bits, or a text", str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return where, "a number", str(value)
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= c <= "\udfff" for c in value)):
        return where, "a text without NUL and without half of a surrogate pair", ascii(value)
    return None
