"""Checks of a deployment's parameters, slugs and schedules, once its flow has been loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from server.bootstrap import dates, value_checks
from server.bootstrap.deployment import KINDS_OF_SCHEDULE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.bootstrap.deployment import Deployment
    from server.bootstrap.resource import Declared
    from server.bootstrap.world import World

# The keywords of a JSON schema that constrain a value.
RULES = ("type", "format", "pattern", "minimum", "maximum", "exclusiveMinimum", "maxLength")


def check_parameters(item: Declared[Deployment], parameters_schema: dict[str, Any]) -> None:
    """Check the parameters of the deployment and of its schedules against the flow's signature.

    Raises:
        MistakeError: the flow has no such parameter, a value has the wrong type, or the server
            cannot store a default of the flow.
    """
    if unstorable := value_checks.unstorable(parameters_schema):
        within, expected, value = unstorable
        raise item.mistake(
            f"the flow of deployment {item.value.name!r} has a default that cannot be stored",
            "entrypoint",
            expected=expected,
            found=f"{value} in {'.'.join(map(str, within))}",
        )
    properties = parameters_schema.get("properties", {})
    known = sorted(properties)
    places: list[tuple[dict[str, Any], tuple[str | int, ...]]]
    places = [(item.value.parameters, ("parameters",))]
    places += [
        (schedule.parameters, ("schedules", number, "parameters"))
        for number, schedule in enumerate(item.value.schedules)
    ]
    for parameters, where in places:
        for name, value in parameters.items():
            if name not in known:
                raise item.mistake(
                    f"the flow of deployment {item.value.name!r} takes no parameter {name!r}",
                    *(*where, name),
                    expected=f"one of {', '.join(known)}" if known else "no parameters",
                    found=name,
                )
            # The server checks this too, but only after other changes have been applied.
            errors = value_checks.schema_errors({name: value}, parameters_schema)
            if errors and item.value.enforce_parameter_schema:
                raise item.mistake(
                    f"the flow of deployment {item.value.name!r} does not take this {name!r}",
                    *(*where, name),
                    expected=f"a value of its type ({_type_of(properties[name])})",
                    found=repr(value),
                )


def _type_of(field: dict[str, Any]) -> str:
    """The requirements of a field's schema, for a message that must not show the value."""
    if "enum" in field:
        return f"one of {', '.join(map(str, field['enum']))}"
    if "anyOf" in field:
        return " or ".join(_type_of(option) for option in field["anyOf"])
    rules = {k: v for k, v in field.items() if k in RULES}
    return ", ".join(f"{name} {value}" for name, value in rules.items()) or "see the flow"


def check_slugs(item: Declared[Deployment]) -> None:
    """Check that the slugs of the schedules are unique.

    Raises:
        MistakeError: two schedules have the same slug.
    """
    slugs = [schedule.slug for schedule in item.value.schedules]
    for number, slug in enumerate(slugs):
        if slug in slugs[:number]:
            raise item.mistake(
                f"slug {slug!r} is used twice in {item.value.name!r}",
                *("schedules", number, "slug"),
                expected="a different slug for each schedule",
                found="two schedules with the same slug",
            )


def check_dates(
    item: Declared[Deployment], verdicts: Sequence[dates.Verdict], world: World
) -> None:
    """Refuse a schedule that never creates a run, and add a note if all its dates have passed.

    Raises:
        MistakeError: the dates of a schedule cannot be computed, or it has none.
    """
    for number, (verdict, why) in enumerate(verdicts):
        schedule = item.value.schedules[number]
        kind = next(name for name in KINDS_OF_SCHEDULE if getattr(schedule, name) is not None)
        within = ("schedules", number, kind)
        if verdict == dates.WRONG:
            raise item.mistake(
                f"schedule {schedule.slug!r} of {item.value.name!r} never creates a run",
                *within,
                expected="a schedule that has a date",
                found=why,
            )
        if verdict == dates.OVER:
            note = f"schedule {schedule.slug!r} of {item.value.name!r} creates no more runs: {why}"
            world.note(item, note, *within)
