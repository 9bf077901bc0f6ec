"""Reads the declarations of each kind from `prefect.yaml` and `stack.yaml`.

They are checked here as far as that is possible without a server.
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

# What a file may hold besides the sections of the kinds.
OTHERS: dict[str, set[str]] = {
    "prefect.yaml": {"name", "prefect-version", "pull", "definitions"},
    "stack.yaml": {"definitions"},  # a place for YAML anchors
}
REQUIRES = "requires"
UNKNOWN = "?"  # stands for a part of a name that is missing
# Replaces messages of Prefect's that only say that a value is wrong.
EXPECTED = {
    "cron": "five fields, such as 0 2 * * *",
    "timezone": "a name of the IANA database, such as Europe/Madrid",
    "rrule": "a rule of RFC 5545, such as FREQ=DAILY",
}


@dataclass
class Declaration:
    """All declarations of one kind."""

    items: Sequence[Declared[Any]] = ()
    left_out: dict[str, str] = field(default_factory=dict)  # the name, and the reason


def read(
    world: World, kinds: Sequence[Kind[Any]], given: Mapping[str, str]
) -> dict[str, Declaration]:
    """The declarations by the name of their kind, which are also registered in `world`.

    Raises:
        MistakeError: a whole file is wrong. A mistake in one resource is noted in `world`, and that
            resource left out.
    """
    files = {name: YamlFile(world.root / name) for name in DECLARATIONS}
    for name, file in files.items():
        _refuse_unknown_sections(file, {kind.section for kind in kinds if kind.file == name})
    found: dict[str, Declaration] = {}
    for kind in kinds:
        declaration = _of(world, kind, files[kind.file], given)
        items = _without_twins(world, kind, declaration.items)
        declaration.items = _without_twins(world, kind, kind.check(items))
        world.declared |= {(kind.name, item.name) for item in declaration.items}
        found[kind.name] = declaration
    return found


def _of(world: World, kind: Kind[Any], file: YamlFile, given: Mapping[str, str]) -> Declaration:
    items: list[Declared[Any]] = []
    declaration = Declaration(items)
    for where, raw in kind.find(plain(file.content)):
        name = _name(kind, raw)
        place = f"{file.name} line {file.line(where)}"
        with world.sparing(kind.name, name, place, exact=kind.exact):
            _refuse_what_cannot_be_kept(kind, raw, file, where)
            missing = _missing(raw, given, file, where)
            if missing:
                label = kind.label(kind.model.model_construct(**{**_blank(kind), **raw}))
                declaration.left_out[label] = f"{missing} is not set"
                continue
            value = _built(kind, substitution.fill(raw, given, file, where), file, where)
            items.append(Declared(kind.label(value), value, file, where))
    return declaration


def _name(kind: Kind[Any], raw: Any) -> str | None:
    """The name of the resource that `raw` declares; None when it cannot be told."""
    if not isinstance(raw, dict):
        return None
    label = kind.label(kind.model.model_construct(**{**_blank(kind), **raw}))
    return None if UNKNOWN in label or "{{" in label else label


def _refuse_what_cannot_be_kept(kind: Kind[Any], raw: Any, file: YamlFile, where: Location) -> None:
    if not isinstance(raw, dict):
        raise file.mistake(
            where,
            f"this {kind.name} is no mapping",
            expected="name: value",
            found=type(raw).__name__,
        )
    if found := value_checks.unstorable(raw):
        within, expected, value = found
        raise file.mistake(
            (*where, *within),
            f"the server cannot keep this {within[-1]!r}" if within else "a key is not valid",
            expected=expected,
            found=value,
        )


def _built(kind: Kind[Any], content: Any, file: YamlFile, where: Location) -> Any:
    try:
        return kind.model.model_validate(content)
    except ValidationError as error:
        details = error.errors()[0]
        what, expected, found = _explain(details)
        raise file.mistake(
            (*where, *details["loc"]), what, expected=expected, found=found
        ) from None


def _missing(
    raw: dict[str, Any], given: Mapping[str, str], file: YamlFile, where: Location
) -> str | None:
    """Remove `requires` from `raw`, and return the first name in it that has no value."""
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
    return next((str(name) for name in required if name not in given), None)


def _blank(kind: Kind[Any]) -> dict[str, str]:
    return dict.fromkeys(kind.model.model_fields, UNKNOWN)


def _refuse_unknown_sections(file: YamlFile, sections: set[str]) -> None:
    known = sections | OTHERS[file.name]
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
                (key,), f"{key!r} is no list", expected="a list", found=type(plain(value)).__name__
            )


def _without_twins(
    world: World, kind: Kind[Any], items: Sequence[Declared[Any]]
) -> list[Declared[Any]]:
    """The items with a unique name: of two with the same, nobody knows which one is meant."""
    names = Counter(item.name for item in items)
    seen: set[str] = set()
    for item in items:
        if item.name in seen:
            with world.sparing(kind.name, item.name, item.place, exact=kind.exact):
                raise item.mistake(
                    f"the {kind.name} {item.name!r} is declared twice",
                    expected="one of a name",
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
            found = details["input"]
            # A mapping or a list may contain a secret.
            shown = type(found).__name__ if isinstance(found, dict | list) else repr(found)
            if isinstance(found, dict) and "slug" in found:
                shown = ", ".join(name for name in KINDS_OF_SCHEDULE if name in found) or "none"
            return f"{subject} is not valid", message, shown
