"""Checks values as the server does, before they are sent to it.

A value may violate its JSON schema, or it may be one that YAML can express but the server cannot
store. The server accepts an integer of more than 64 bits, and from then on answers 500 for every
list that contains it (upstream #15031). A NUL fails in PostgreSQL; a lone surrogate and a number
that is not finite fail on the way there.
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
    """The errors of the fields in `value` according to `schema`; missing fields are no errors.

    The list is also empty if the schema cannot be resolved, so that the server has to judge the
    value: the schema that it returns for a secret block refers to a definition that is not in it.
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
    """Find the first value that the server cannot store.

    Returns:
        Its location, what is expected there, and the value; None if everything can be stored.
    """
    if isinstance(node, dict):
        for key, value in node.items():
            if problem := _unstorable_scalar(key, where) or unstorable(value, (*where, key)):
                return problem
        return None
    if isinstance(node, list):
        problems = (unstorable(value, (*where, index)) for index, value in enumerate(node))
        return next(filter(None, problems), None)
    return _unstorable_scalar(node, where)


def _unstorable_scalar(value: Any, where: Location) -> tuple[Location, str, str] | None:
    if isinstance(value, int) and not SMALLEST <= value <= LARGEST:
        return where, "an integer of at most 64 bits, or a string", str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return where, "a finite number", str(value)
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= c <= "\udfff" for c in value)):
        return where, "a string without NUL or lone surrogates", ascii(value)
    return None
