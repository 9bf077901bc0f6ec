"""Reads `prefect.yaml` and `stack.yaml`: what is declared of each kind, checked as far as it goes
without a server.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from server.bootstrap import values
from server.bootstrap.deployment import KINDS_OF_SCHEDULE
from server.bootstrap.kind import Declared
from server.bootstrap.yaml_file import YamlFile, plain
from server.references import DECLARATIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic_core import ErrorDetails

    from server.bootstrap.kind import Kind, Location, World

# What a file may hold besides the sections of the kinds.
OTHERS: dict[str, set[str]] = {
    "prefect.yaml": {"name", "prefect-version", "pull", "definitions"},
    "stack.yaml": {"definitions"},  # a place for YAML anchors
}
REQUIRES = "requires"
# What a message says instead of Prefect's words, which only say that it is wrong.
EXPECTED = {
    "cron": "five fields, such as 0 2 * * *",
    "timezone": "a name of the IANA database, such as Europe/Madrid",
    "rrule": "a rule of RFC 5545, such as FREQ=DAILY",
}


@dataclass
class Declaration:
    """What is declared of one kind."""

    items: Sequence[Declared[Any]] = ()
    left_out: dict[str, str] = field(default_factory=dict)  # name, and what it waits for


def read(
    world: World, kinds: Sequence[Kind[Any]], given: Mapping[str, str]
) -> dict[str, Declaration]:
    """What is declared, by the name of the kind; `world` knows of all of it afterwards.

    Raises:
        MistakeError: naming file and line.
    """
    files = {name: YamlFile(world.root / name) for name in DECLARATIONS}
    for name, file in files.items():
        _refuse_unknown_sections(file, {kind.section for kind in kinds if kind.file == name})
    found: dict[str, Declaration] = {}
    for kind in kinds:
        declaration = _of(kind, files[kind.file], given)
        _refuse_twins(kind, declaration.items)
        declaration.items = kind.check(declaration.items)
        _refuse_twins(kind, declaration.items)
        world.declared |= {(kind.name, item.name) for item in declaration.items}
        found[kind.name] = declaration
    return found


def _of(kind: Kind[Any], file: YamlFile, given: Mapping[str, str]) -> Declaration:
    items: list[Declared[Any]] = []
    declaration = Declaration(items)
    for where, raw in kind.find(plain(file.content)):
        if not isinstance(raw, dict):
            raise file.mistake(
                where,
                f"this {kind.name} is no mapping",
                expected="name: value",
                found=type(raw).__name__,
            )
        missing = _missing(raw, given, file, where)
        if missing:
            name = kind.label(kind.model.model_construct(**{**_blank(kind), **raw}))
            declaration.left_out[name] = f"{missing} is not set"
            continue
        content = values.fill(raw, given, file, where)
        try:
            value = kind.model.model_validate(content)
        except ValidationError as error:
            details = error.errors()[0]
            what, expected, found = _explain(details)
            raise file.mistake(
                (*where, *details["loc"]), what, expected=expected, found=found
            ) from None
        items.append(Declared(kind.label(value), value, file, where))
    return declaration


def _missing(
    raw: dict[str, Any], given: Mapping[str, str], file: YamlFile, where: Location
) -> str | None:
    """Take out what the resource requires; the first name of it that has no value."""
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
    return dict.fromkeys(kind.model.model_fields, "?")


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


def _refuse_twins(kind: Kind[Any], items: Sequence[Declared[Any]]) -> None:
    seen: set[str] = set()
    for item in items:
        if item.name in seen:
            raise item.mistake(
                f"the {kind.name} {item.name!r} is declared twice",
                expected="one of a name",
                found="two",
            )
        seen.add(item.name)


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
            # What a mapping or a list holds may be a secret.
            shown = type(found).__name__ if isinstance(found, dict | list) else repr(found)
            if isinstance(found, dict) and "slug" in found:
                shown = ", ".join(name for name in KINDS_OF_SCHEDULE if name in found) or "none"
            return f"{subject} is not valid", message, shown
