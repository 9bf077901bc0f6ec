"""Blocks: configuration and secrets of any block type that the server has registered."""

from __future__ import annotations

import difflib
import json
import logging
import re
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import apprise
from prefect.blocks.core import Block as PrefectBlock
from prefect.blocks.core import UnknownBlockType
from prefect.blocks.notifications import AppriseNotificationBlock
from pydantic import Field, ValidationError

from server.bootstrap import api, ownership, value_checks
from server.bootstrap.kind import Kind
from server.bootstrap.resource import Declared, Difference, Live, Need, Strict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from server.bootstrap.world import World

SORTED = {"sort": "BLOCK_TYPE_AND_NAME_ASC"}
# Apprise logs parts of an address that it refuses; here a MistakeError reports it instead.
logging.getLogger("apprise").setLevel(logging.CRITICAL)

NAME = r"^[a-z0-9]+(-[a-z0-9]+)*$"
# As Prefect writes a reference to another block.
REFERENCE = re.compile(r"^{{\s*prefect\.blocks\.([a-z0-9-]+)\.([a-z0-9-]+)\s*}}$")
NUMBERS: dict[str, Callable[[str], Any]] = {"integer": int, "number": float, "boolean": json.loads}


class Block(Strict):
    """One block: the slug of its type, its name, and its fields."""

    type: Annotated[str, Field(pattern=NAME)]
    name: Annotated[str, Field(pattern=NAME)]
    data: dict[str, Any] = Field(default_factory=dict)


class Blocks(Kind[Block]):
    """The section `blocks`. The values of a block are compared but never shown."""

    name = "block"
    section = "blocks"
    order = 10
    model = Block
    path = "/block_documents"

    def __init__(self, world: World, client: api.Client) -> None:
        super().__init__(world, client)
        self._schemas: dict[str, dict[str, Any]] = {}  # by the slug of the type

    def label(self, value: Any) -> str:
        """Type and name, as Prefect loads it."""
        return f"{value.type}/{value.name}"

    def every(self) -> Iterator[tuple[str, Live]]:
        """All blocks by type and name, without their secrets."""
        for each in api.every(self.client, f"{self.path}/filter", SORTED):
            yield f"{each['block_type']['slug']}/{each['name']}", Live(UUID(each["id"]), each)

    def read(self, items: Sequence[Declared[Block]]) -> dict[str, Live]:
        """Read the declared blocks with their secrets, and leave out bootstrap's own record."""
        declared = {item.name for item in items}
        found: dict[str, Live] = {}
        for name, live in self.every():
            if live.value["block_type"]["slug"] == ownership.SLUG:
                continue
            found[name] = live
            if name in declared:
                path = f"{self.path}/{live.id}?include_secrets=true"
                found[name] = Live(live.id, self.client.call("GET", path))
        return found

    def compare(self, item: Declared[Block], live: Live | None) -> Difference:
        """Compare field by field; an update replaces all fields of the block."""
        schema = self._schema(item)
        data = self._checked(item, schema["fields"])
        body = {"data": data, "block_schema_id": schema["id"]}
        if live is None:
            type_id = schema["block_type_id"]
            return Difference({"name": item.value.name, "block_type_id": type_id, **body})
        found = {
            **live.value["data"],
            **{
                name: {"$ref": {"block_document_id": each["block_document"]["id"]}}
                for name, each in live.value["block_document_references"].items()
            },
        }
        names = dict.fromkeys([*data, *found])
        return Difference(
            {**body, "merge_existing_data": False},
            tuple(name for name in names if data.get(name) != found.get(name)),
        )

    def create(self, item: Declared[Block], payload: Any) -> UUID:  # noqa: ARG002
        """Create it with the newest schema of its type."""
        return UUID(self.client.call("POST", f"{self.path}/", payload)["id"])

    def update(self, live: Live, payload: Any) -> None:
        self.client.call("PATCH", f"{self.path}/{live.id}", payload)

    def _schema(self, item: Declared[Block]) -> dict[str, Any]:
        slug = item.value.type
        if slug not in self._schemas:
            kind = api.find(self.client, f"/block_types/slug/{slug}")
            if kind is None:
                raise self._unknown(item)
            body = {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}}
            self._schemas[slug] = next(api.every(self.client, "/block_schemas/filter", body))
        return self._schemas[slug]

    def _unknown(self, item: Declared[Block]) -> Exception:
        known = [each["slug"] for each in api.every(self.client, "/block_types/filter")]
        close = difflib.get_close_matches(item.value.type, known, n=1)
        return item.mistake(
            f"the block {item.name!r} has a type that the server does not know",
            "type",
            expected=close[0] if close else "a type that `prefect block type ls` shows",
            found=item.value.type,
            do=None if close else "prefect block register -m MODULE, or correct the type",
        )

    def _checked(self, item: Declared[Block], fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields in the form of the API, with references and numbers converted.

        Raises:
            MistakeError: an unknown field, or a value of the wrong type. It never shows the value.
        """
        known = fields.get("properties", {})
        data: dict[str, Any] = {}
        for name, value in item.value.data.items():
            if name not in known:
                raise item.mistake(
                    f"the block {item.name!r} has no field {name!r}",
                    "data",
                    name,
                    expected=f"one of {', '.join(sorted(known))}",
                    found=name,
                )
            data[name] = self._reference(value) or _number(value, known[name])
        for name in fields.get("required", []):
            if name not in data:
                raise item.mistake(
                    f"the block {item.name!r} lacks the field {name!r}",
                    "data",
                    expected=f"a value for {name}",
                    found="none",
                )
        self._check_types(item, dict(fields), data)
        return data

    def _check_types(
        self, item: Declared[Block], fields: dict[str, Any], data: dict[str, Any]
    ) -> None:
        plain = {name: value for name, value in data.items() if "$ref" not in _mapping(value)}
        for name, value in plain.items():
            if value_checks.schema_errors({name: value}, fields):
                raise _wrong(item, name, fields["properties"][name].get("type", "another type"))
        try:
            known = PrefectBlock.get_block_class_from_key(item.value.type)
        except UnknownBlockType:
            return  # its package is not installed here, so only its schema is checked
        if plain.keys() != data.keys():
            return  # cannot be made without the block that it refers to
        try:
            known(**plain)
        except (ValidationError, ValueError) as error:
            errors = error.errors() if isinstance(error, ValidationError) else []
            name = str(errors[0]["loc"][0]) if errors and errors[0]["loc"] else "data"
            raise _wrong(
                item, name, errors[0]["msg"] if errors else "values that it takes"
            ) from None
        if issubclass(known, AppriseNotificationBlock):
            _check_address(item, plain)

    def needs(self, item: Declared[Block]) -> Iterator[Need]:
        """The blocks that its fields refer to."""
        for field, value in item.value.data.items():
            if name := _referred(value):
                yield Need(self.name, name, ("data", field))

    def _reference(self, value: Any) -> dict[str, Any] | None:
        name = _referred(value)
        if name is None:
            return None
        return {"$ref": {"block_document_id": self.world.id_of(self.name, name)}}


def _referred(value: Any) -> str | None:
    match = REFERENCE.match(value) if isinstance(value, str) else None
    return f"{match[1]}/{match[2]}" if match else None


def _check_address(item: Declared[Block], data: Mapping[str, Any]) -> None:
    """Refuse an address that Apprise would silently drop."""
    url = data.get("url")
    if isinstance(url, str) and not apprise.Apprise().add(url):
        raise _wrong(item, "url", "an address that this kind of notification is sent to")


def _wrong(item: Declared[Block], field: str, expected: str) -> Exception:
    within = ("data", field) if field in item.value.data else ("data",)
    return item.mistake(
        f"the block {item.name!r} does not take this {field!r}",
        *within,
        expected=expected,
        found="a value that is not shown",
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any, field: Mapping[str, Any]) -> Any:
    """Convert a text, as `{{ $NAME }}` gives it, for a field that is a number or a boolean."""
    convert = NUMBERS.get(str(field.get("type")))
    if convert is None or not isinstance(value, str):
        return value
    try:
        return convert(value)
    except ValueError:
        return value  # the type check reports it
