"""Checks the job variables of deployments as the server does when it creates a run.

The server does not check them when a deployment is updated; with wrong ones it then refuses every
later run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from prefect.utilities.schema_tools.validation import is_valid_schema

from server.bootstrap import value_checks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from server.bootstrap.resource import Location

# The worker fills in this placeholder only in the name of a job; elsewhere it becomes empty.
CONTEXT = re.compile(r"{{\s*ctx\.[\w.]+\s*}}")
ENV = "env"


def first_error(
    template: Mapping[str, Any], variables: Mapping[str, Any]
) -> tuple[Location, str, Any] | None:
    """The first of `variables` that a pool with this template does not accept.

    Returns:
        Where it is, what is expected there, and the wrong value; None if all are valid.
    """
    schema = template.get("variables")
    if not schema or not variables:
        return None
    errors = value_checks.schema_errors(variables, schema, none_for_default=True)
    if not errors:
        return None
    error = _deepest(errors[0])
    return tuple(error.absolute_path), _expected(error), error.instance


def template_fault(template: Mapping[str, Any]) -> str | None:
    """What is wrong with a template: an invalid schema, or a default that does not match it."""
    schema = template.get("variables")
    if not isinstance(schema, dict) or not schema:
        return None
    try:
        is_valid_schema(schema, preprocess=False)
    except ValueError as error:
        return " ".join(str(error).split())
    properties = schema.get("properties") or {}
    defaults = {
        name: field["default"]
        for name, field in properties.items()
        if "default" in field and "$ref" not in str(field["default"])
    }
    mismatch = first_error(template, defaults)
    if not mismatch or not mismatch[0]:
        return None
    return f"the default of {mismatch[0][0]} is not {mismatch[1]}"


def environment(*layers: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a run, merged from job variables as the worker merges them.

    Later layers override earlier ones. A key `env.NAME` is Prefect's short form for an entry of
    `env`.
    """
    env: dict[str, Any] = {}
    for layer in layers:
        dotted = {k.removeprefix(f"{ENV}."): v for k, v in layer.items() if k.startswith(f"{ENV}.")}
        whole = layer.get(ENV)
        env |= {**dotted, **(whole if isinstance(whole, dict) else {})}
    return {str(name): str(value) for name, value in env.items() if value is not None}


def of_template(template: Mapping[str, Any]) -> dict[str, Any]:
    """A layer for `environment`: the variables that a pool's template sets for every run."""
    configured = _mapping(_mapping(template.get("job_configuration")).get(ENV))
    properties = _mapping(_mapping(template.get("variables")).get("properties"))
    return {ENV: {**configured, **_mapping(_mapping(properties.get(ENV)).get("default"))}}


def empty_references(env: Mapping[str, Any]) -> Iterator[str]:
    """A note for each reference to the context of a run, which is never filled in."""
    for name, value in env.items():
        for reference in CONTEXT.findall(value) if isinstance(value, str) else ():
            yield (
                f"{reference} in the variable {name} is empty in a run: Prefect fills in the "
                "context for the name of a job only; flows read it from prefect.runtime"
            )


def _deepest(error: Any) -> Any:
    """The most specific cause of an error, where a schema has alternatives."""
    depth = len(error.absolute_path)
    deeper = [cause for cause in error.context or () if len(cause.absolute_path) > depth]
    return _deepest(deeper[0]) if deeper else error


def _expected(error: Any) -> str:
    rule = error.validator_value
    if error.validator == "anyOf":
        types = (str(option.get("type", "of its schema")) for option in rule)
        return f"type {' or '.join(types)}"
    return f"{error.validator} {', '.join(map(str, rule)) if isinstance(rule, list) else rule}"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
