"""Blocks: configuration and secrets, of any block type that is registered on the server."""

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
# Apprise would log parts of an invalid address, which is secret; a MistakeError reports it instead.
logging.getLogger("apprise").setLevel(logging.CRITICAL)

NAME = r"^[a-z0-9]+(-[a-z0-9]+)*$"
# Prefect's syntax for a reference to another block.
REFERENCE = re.compile(r"^{{\s*prefect\.blocks\.([a-z0-9-]+)\.([a-z0-9-]+)\s*}}$")
NUMBERS: dict[str, Callable[[str], Any]] = {"integer": int, "number": float, "boolean": json.loads}


class Block(Strict):
    """One block: the slug of its type, its name, and its fields in `data`."""

    type: Annotated[str, Field(pattern=NAME)]
    name: Annotated[str, Field(pattern=NAME)]
    data: dict[str, Any] = Field(default_factory=dict)


class Blocks(Kind[Block]):
    """The section `blocks` of `stack.yaml`. The values of a block are compared but never shown."""

    name = "block"
    section = "blocks"
    order = 10
    model = Block
    path = "/block_documents"

    def __init__(self, world: World, client: api.Client) -> None:
        super().__init__(world, client)
        self._schemas: dict[str, dict[str, Any]] = {}  # by the slug of the block type

    def label(self, value: Any) -> str:
        """The block's type and name, as Prefect's `Block.load` expects them."""
        return f"{value.type}/{value.name}"

    def every(self) -> Iterator[tuple[str, Live]]:
        """All blocks with their types and names, without their secrets."""
        for block in api.every(self.client, f"{self.path}/filter", SORTED):
            yield f"{block['block_type']['slug']}/{block['name']}", Live(UUID(block["id"]), block)

    def read(self, items: Sequence[Declared[Block]]) -> dict[str, Live]:
        """All blocks except bootstrap's own record; the declared ones with their secrets."""
        declared = {item.name for item in items}
        blocks: dict[str, Live] = {}
        for name, live in self.every():
            if live.value["block_type"]["slug"] == ownership.SLUG:
                continue
            blocks[name] = live
            if name in declared:
                path = f"{self.path}/{live.id}?include_secrets=true"
                blocks[name] = Live(live.id, self.client.call("GET", path))
        return blocks

    def compare(self, item: Declared[Block], live: Live | None) -> Difference:
        """Compare field by field; an update replaces all fields of the block."""
        schema = self._schema(item)
        data = self._checked_data(item, schema["fields"])
        body = {"data": data, "block_schema_id": schema["id"]}
        if live is None:
            type_id = schema["block_type_id"]
            return Difference({"name": item.value.name, "block_type_id": type_id, **body})
        existing = {
            **live.value["data"],
            **{
                name: {"$ref": {"block_document_id": reference["block_document"]["id"]}}
                for name, reference in live.value["block_document_references"].items()
            },
        }
        names = dict.fromkeys([*data, *existing])
        return Difference(
            {**body, "merge_existing_data": False},
            tuple(name for name in names if data.get(name) != existing.get(name)),
        )

    def create(self, item: Declared[Block], payload: Any) -> UUID:  # noqa: ARG002
        """Create the block with the newest schema of its type."""
        return UUID(self.client.call("POST", f"{self.path}/", payload)["id"])

    def update(self, live: Live, payload: Any) -> None:
        self.client.call("PATCH", f"{self.path}/{live.id}", payload)

    def _schema(self, item: Declared[Block]) -> dict[str, Any]:
        slug = item.value.type
        if slug not in self._schemas:
            block_type = api.find(self.client, f"/block_types/slug/{slug}")
            if block_type is None:
                raise self._unknown_type(item)
            body = {"block_schemas": {"block_type_id": {"any_": [block_type["id"]]}}}
            self._schemas[slug] = next(api.every(self.client, "/block_schemas/filter", body))
        return self._schemas[slug]

    def _unknown_type(self, item: Declared[Block]) -> Exception:
        block_types = api.every(self.client, "/block_types/filter")
        known = [block_type["slug"] for block_type in block_types]
        close = difflib.get_close_matches(item.value.type, known, n=1)
        return item.mistake(
            f"the block {item.name!r} has a type that the server does not know",
            "type",
            expected=close[0] if close else "a type that `prefect block type ls` shows",
            found=item.value.type,
            do=None if close else "prefect block register -m MODULE, or correct the type",
        )

    def _checked_data(self, item: Declared[Block], fields: Mapping[str, Any]) -> dict[str, Any]:
        """The values in the form that the API expects, with references and numbers converted.

        Raises:
            MistakeError: a field is unknown or missing, or a value has the wrong type. The message
                never shows a value.
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
            return  # the package is not installed here, so only the schema could be checked
        if plain.keys() != data.keys():
            return  # the block cannot be instantiated without the blocks that it refers to
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
        """The blocks that the fields refer to."""
        for field, value in item.value.data.items():
            if name := _referenced_block(value):
                yield Need(self.name, name, ("data", field))

    def _reference(self, value: Any) -> dict[str, Any] | None:
        name = _referenced_block(value)
        if name is None:
            return None
        return {"$ref": {"block_document_id": self.world.id_of(self.name, name)}}


def _referenced_block(value: Any) -> str | None:
    match = REFERENCE.match(value) if isinstance(value, str) else None
    return f"{match[1]}/{match[2]}" if match else None


def _check_address(item: Declared[Block], data: Mapping[str, Any]) -> None:
    """Refuse an address that Apprise would silently ignore."""
    url = data.get("url")
    if isinstance(url, str) and not apprise.Apprise().add(url):
        raise _wrong(item, "url", "an address for this kind of notification")


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
    """Convert the string that `{{ $NAME }}` yields if the field is a number or a boolean."""
    convert = NUMBERS.get(str(field.get("type")))
    if convert is None or not isinstance(value, str):
        return value
    try:
        return convert(value)
    except ValueError:
        return value  # the type check will report it
