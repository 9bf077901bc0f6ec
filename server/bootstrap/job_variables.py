"""The job variables of a deployment, checked as the server checks them when a run is made.

The server checks them when a deployment is created and not when it is updated; then every later
run is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from prefect.utilities.schema_tools.validation import is_valid_schema

from server.bootstrap import value_checks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from server.bootstrap.resource import Location

# The worker fills it in only in the name of a job; elsewhere it is replaced by nothing.
CONTEXT = re.compile(r"{{\s*ctx\.[\w.]+\s*}}")
ENV = "env"


def refused(
    template: Mapping[str, Any], variables: Mapping[str, Any]
) -> tuple[Location, str, Any] | None:
    """The place of the first variable that a pool with this template does not take.

    With what it takes there, and what stands there instead.
    """
    wanted = template.get("variables")
    if not wanted or not variables:
        return None
    errors = value_checks.schema_errors(variables, wanted, none_for_default=True)
    if not errors:
        return None
    error = _deepest(errors[0])
    return tuple(error.absolute_path), _expected(error), error.instance


def template_fault(template: Mapping[str, Any]) -> str | None:
    """What is wrong with a template: an invalid schema, or a default that does not match it."""
    wanted = template.get("variables")
    if not isinstance(wanted, dict) or not wanted:
        return None
    try:
        is_valid_schema(wanted, preprocess=False)
    except ValueError as error:
        return " ".join(str(error).split())
    properties = wanted.get("properties") or {}
    defaults = {
        name: each["default"]
        for name, each in properties.items()
        if "default" in each and "$ref" not in str(each["default"])
    }
    found = refused(template, defaults)
    return f"the default of {found[0][0]} is not {found[1]}" if found and found[0] else None


def environment(*layers: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a run, with the layers merged as the worker merges them.

    Each layer is the job variables of one place; `env.NAME` is Prefect's short form of one.
    """
    env: dict[str, Any] = {}
    for layer in layers:
        dotted = {k.removeprefix(f"{ENV}."): v for k, v in layer.items() if k.startswith(f"{ENV}.")}
        whole = layer.get(ENV)
        env |= {**dotted, **(whole if isinstance(whole, dict) else {})}
    return {str(name): str(value) for name, value in env.items() if value is not None}


def of_template(template: Mapping[str, Any]) -> dict[str, Any]:
    """The job variables with the environment that a pool's template gives to every run."""
    configured = _mapping(_mapping(template.get("job_configuration")).get(ENV))
    properties = _mapping(_mapping(template.get("variables")).get("properties"))
    return {ENV: {**configured, **_mapping(_mapping(properties.get(ENV)).get("default"))}}


def empty_references(env: Mapping[str, Any]) -> Iterator[str]:
    """A note for each variable that refers to the context of a run, which is never filled in."""
    for name, value in env.items():
        for found in CONTEXT.findall(value) if isinstance(value, str) else ():
            yield (
                f"{found} in the variable {name} is empty in a run: Prefect fills in the context "
                "for the name of a job only; flows read it from prefect.runtime"
            )


def _deepest(error: Any) -> Any:
    """The most specific error, where a value had several choices."""
    depth = len(error.absolute_path)
    below = [each for each in error.context or () if len(each.absolute_path) > depth]
    return _deepest(below[0]) if below else error


def _expected(error: Any) -> str:
    rule = error.validator_value
    if error.validator == "anyOf":
        return f"type {' or '.join(str(each.get('type', 'of its schema')) for each in rule)}"
    return f"{error.validator} {', '.join(map(str, rule)) if isinstance(rule, list) else rule}"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
