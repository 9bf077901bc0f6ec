"""The checks of a deployment that need its loaded flow."""

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
    """Refuse a parameter, of the deployment or of a schedule, that the flow does not take.

    Raises:
        MistakeError: it is not one of the flow's, or its value is not of its type.
    """
    if beyond := value_checks.unstorable(parameters_schema):
        raise item.mistake(
            f"the flow of deployment {item.value.name!r} has a default that cannot be kept",
            "entrypoint",
            expected=beyond[1],
            found=f"{beyond[2]} in {'.'.join(map(str, beyond[0]))}",
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
            # The server checks this too, but only once half of the changes are applied.
            errors = value_checks.schema_errors({name: value}, parameters_schema)
            if errors and item.value.enforce_parameter_schema:
                raise item.mistake(
                    f"the flow of deployment {item.value.name!r} does not take this {name!r}",
                    *(*where, name),
                    expected=f"a value of its type ({_type_of(properties[name])})",
                    found=repr(value),
                )


def _type_of(field: dict[str, Any]) -> str:
    """What the schema requires, without the value, which may be a secret."""
    if "enum" in field:
        return f"one of {', '.join(map(str, field['enum']))}"
    if "anyOf" in field:
        return " or ".join(_type_of(each) for each in field["anyOf"])
    rules = {k: v for k, v in field.items() if k in RULES}
    return ", ".join(f"{name} {value}" for name, value in rules.items()) or "see the flow"


def check_slugs(item: Declared[Deployment]) -> None:
    """Refuse two schedules with the same slug.

    Raises:
        MistakeError: there are two.
    """
    slugs = [schedule.slug for schedule in item.value.schedules]
    for number, slug in enumerate(slugs):
        if slug in slugs[:number]:
            raise item.mistake(
                f"slug {slug!r} is used twice in {item.value.name!r}",
                *("schedules", number, "slug"),
                expected="a slug for each schedule",
                found="two of one name",
            )


def check_dates(
    item: Declared[Deployment], verdicts: Sequence[dates.Verdict], world: World
) -> None:
    """Refuse a schedule that never creates a run; note one whose dates are all in the past.

    Raises:
        MistakeError: its dates cannot be computed, or there are none.
    """
    for number, (verdict, why) in enumerate(verdicts):
        schedule = item.value.schedules[number]
        kind = next(each for each in KINDS_OF_SCHEDULE if getattr(schedule, each) is not None)
        within = ("schedules", number, kind)
        if verdict == dates.WRONG:
            raise item.mistake(
                f"schedule {schedule.slug!r} of {item.value.name!r} makes no runs",
                *within,
                expected="a schedule that has a date",
                found=why,
            )
        if verdict == dates.OVER:
            said = f"schedule {schedule.slug!r} of {item.value.name!r} makes no more runs: {why}"
            world.note(item, said, *within)
