"""Reads the declarations of all kinds from `prefect.yaml` and `stack.yaml`.

They are checked as far as that is possible without a server.
"""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from server.bootstrap import substitution, value_checks
from server.bootstrap.deployment import KINDS_OF_SCHEDULE
from server.bootstrap.resource import Declared
from server.bootstrap.yaml_file import YamlFile, plain
from server.settings.placeholders import DECLARATIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic_core import ErrorDetails

    from server.bootstrap.kind import Kind
    from server.bootstrap.resource import Location
    from server.bootstrap.world import World

# Top-level keys that each file may have besides the sections of the kinds.
OTHER_KEYS: dict[str, set[str]] = {
    "prefect.yaml": {"name", "prefect-version", "pull", "definitions"},
    "stack.yaml": {"definitions"},  # a place for YAML anchors
}
REQUIRES = "requires"
UNKNOWN = "?"  # placeholder for a missing part of a name
# Used instead of messages of Prefect that say only that a value is wrong.
EXPECTED = {
    "cron": "five fields, such as 0 2 * * *",
    "timezone": "a name of the IANA database, such as Europe/Madrid",
    "rrule": "a rule of RFC 5545, such as FREQ=DAILY",
}


@dataclass
class Declaration:
    """All declarations of one kind."""

    items: Sequence[Declared[Any]] = ()
    left_out: dict[str, str] = field(default_factory=dict)  # the reasons, by name


def read(
    world: World, kinds: Sequence[Kind[Any]], values: Mapping[str, str]
) -> dict[str, Declaration]:
    """The valid declarations by the name of their kind; they are also registered in `world`.

    A mistake in a single declaration is recorded in `world`, and that declaration is left out.

    Raises:
        MistakeError: a whole file is wrong.
    """
    files = {name: YamlFile(world.root / name) for name in DECLARATIONS}
    for name, file in files.items():
        _refuse_unknown_sections(file, {kind.section for kind in kinds if kind.file == name})
    declarations: dict[str, Declaration] = {}
    for kind in kinds:
        declaration = _read_kind(world, kind, files[kind.file], values)
        items = _without_duplicates(world, kind, declaration.items)
        # Checked again, because `check` may give deployments their full names.
        declaration.items = _without_duplicates(world, kind, kind.check(items))
        world.declared |= {(kind.name, item.name) for item in declaration.items}
        declarations[kind.name] = declaration
    return declarations


def _read_kind(
    world: World, kind: Kind[Any], file: YamlFile, values: Mapping[str, str]
) -> Declaration:
    items: list[Declared[Any]] = []
    declaration = Declaration(items)
    for where, raw in kind.find(plain(file.content)):
        name = _name(kind, raw)
        place = f"{file.name} line {file.line(where)}"
        with world.skip_on_mistake(kind.name, name, place, exact=kind.exact):
            _refuse_unstorable(kind, raw, file, where)
            missing = _pop_missing_requirement(raw, values, file, where)
            if missing:
                label = kind.label(kind.model.model_construct(**{**_blank(kind), **raw}))
                declaration.left_out[label] = f"{missing} is not set"
                continue
            value = _validated(kind, substitution.fill(raw, values, file, where), file, where)
            items.append(Declared(kind.label(value), value, file, where))
    return declaration


def _name(kind: Kind[Any], raw: Any) -> str | None:
    """The name of the resource that `raw` declares; None if it cannot be determined."""
    if not isinstance(raw, dict):
        return None
    label = kind.label(kind.model.model_construct(**{**_blank(kind), **raw}))
    return None if UNKNOWN in label or "{{" in label else label


def _refuse_unstorable(kind: Kind[Any], raw: Any, file: YamlFile, where: Location) -> None:
    if not isinstance(raw, dict):
        raise file.mistake(
            where,
            f"this {kind.name} is not a mapping",
            expected="name: value",
            found=type(raw).__name__,
        )
    if unstorable := value_checks.unstorable(raw):
        within, expected, value = unstorable
        raise file.mistake(
            (*where, *within),
            f"the server cannot store this {within[-1]!r}" if within else "a key is not valid",
            expected=expected,
            found=value,
        )


def _validated(kind: Kind[Any], content: Any, file: YamlFile, where: Location) -> Any:
    try:
        return kind.model.model_validate(content)
    except ValidationError as error:
        details = error.errors()[0]
        what, expected, found = _explain(details)
        raise file.mistake(
            (*where, *details["loc"]), what, expected=expected, found=found
        ) from None


def _pop_missing_requirement(
    raw: dict[str, Any], values: Mapping[str, str], file: YamlFile, where: Location
) -> str | None:
    """Remove the key `requires` from `raw`, and return the first name in it without a value."""
    if file.name != "stack.yaml":
        return None
    required = raw.pop(REQUIRES, [])
    if not isinstance(required, list):
        raise file.mistake(
            (*where, REQUIRES),
            f"{REQUIRES!r} is not valid",
            expected="a list of names, such as [SLACK_WEBHOOK_URL]",
            found=type(required).__name__,
        )
    return next((str(name) for name in required if name not in values), None)


def _blank(kind: Kind[Any]) -> dict[str, str]:
    return dict.fromkeys(kind.model.model_fields, UNKNOWN)


def _refuse_unknown_sections(file: YamlFile, sections: set[str]) -> None:
    known = sections | OTHER_KEYS[file.name]
    for key, value in file.content.items():
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            raise file.mistake(
                (key,),
                f"unknown key {key!r}",
                expected=close[0] if close else f"one of {', '.join(sorted(known))}",
                found=repr(key),
            )
        if key in sections and not isinstance(value, list | None):
            raise file.mistake(
                (key,),
                f"{key!r} is not a list",
                expected="a list",
                found=type(plain(value)).__name__,
            )


def _without_duplicates(
    world: World, kind: Kind[Any], items: Sequence[Declared[Any]]
) -> list[Declared[Any]]:
    """The items whose names are unique; all items that share a name are left out as wrong."""
    names = Counter(item.name for item in items)
    seen: set[str] = set()
    for item in items:
        if item.name in seen:
            with world.skip_on_mistake(kind.name, item.name, item.place, exact=kind.exact):
                raise item.mistake(
                    f"the {kind.name} {item.name!r} is declared twice",
                    expected="one declaration with this name",
                    found="two",
                )
        seen.add(item.name)
    return [item for item in items if names[item.name] == 1]


def _explain(details: ErrorDetails) -> tuple[str, str, str]:
    *parents, key = details["loc"] or ("it",)
    subject = f"item {key + 1} of {parents[-1]!r}" if isinstance(key, int) else repr(key)
    match details["type"]:
        case "extra_forbidden":
            return (
                f"unknown key {key!r}",
                "a key that Prefect takes here, spelt as in its documentation",
                repr(key),
            )
        case "missing":
            return f"{key!r} is missing", f"a value for {key!r}", "none"
        case _:
            message = details["msg"].removeprefix("Value error, ").removeprefix("expected ")
            message = EXPECTED.get(str(key), message)
            value = details["input"]
            # A mapping or a list may contain a secret, so only its type is shown.
            shown = type(value).__name__ if isinstance(value, dict | list) else repr(value)
            if isinstance(value, dict) and "slug" in value:
                shown = ", ".join(name for name in KINDS_OF_SCHEDULE if name in value) or "none"
            return f"{subject} is not valid", message, shown
