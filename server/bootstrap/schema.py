"""Checks values against a JSON schema as Prefect does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.utilities.schema_tools.validation import (
    CircularSchemaRefError,
    ValidationError,
    validate,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def errors(
    value: Mapping[str, Any], schema: Mapping[str, Any], *, none_for_default: bool = False
) -> list[Any]:
    """What is wrong with some of the fields of `schema`.

    Nothing, where the schema cannot be followed (that of a secret block, as the server gives it,
    refers to a definition that it lacks): then it is the server that judges.
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
