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

from server.bootstrap import api, ownership, schema
from server.bootstrap.kind import Declared, Kind, Live, Need, Strict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from prefect.client.orchestration import SyncPrefectClient

PATH = "/block_documents"
ORDER = {"sort": "BLOCK_TYPE_AND_NAME_ASC"}
# It writes parts of an address that it does not take to its log; a MistakeError says it instead.
logging.getLogger("apprise").setLevel(logging.CRITICAL)

NAME = r"^[a-z0-9]+(-[a-z0-9]+)*$"
# As Prefect writes a reference to another block.
REFERENCE = re.compile(r"^{{\s*prefect\.blocks\.([a-z0-9-]+)\.([a-z0-9-]+)\s*}}$")
NUMBERS: dict[str, Callable[[str], Any]] = {"integer": int, "number": float, "boolean": json.loads}


class Block(Strict):
    """One block: its type's slug, its name, and the fields of the type."""

    type: Annotated[str, Field(pattern=NAME)]
    name: Annotated[str, Field(pattern=NAME)]
    data: dict[str, Any] = Field(default_factory=dict)


class Blocks(Kind[Block]):
    """The section `blocks`. What a block holds is compared, and never shown."""

    name = "block"
    section = "blocks"
    order = 10
    model = Block

    def __init__(self, world: Any) -> None:
        """Remember the types that were read."""
        super().__init__(world)
        self._schemas: dict[str, dict[str, Any]] = {}

    def label(self, value: Any) -> str:
        """Type and name, as Prefect loads it."""
        return f"{value.type}/{value.name}"

    def read(self, client: SyncPrefectClient, items: Sequence[Declared[Block]]) -> dict[str, Live]:
        """By type and name; with what it holds only those that are declared."""
        declared = {item.name for item in items}
        found: dict[str, Live] = {}
        for each in api.every(client, f"{PATH}/filter", ORDER):
            name = f"{each['block_type']['slug']}/{each['name']}"
            if each["block_type"]["slug"] == ownership.SLUG:
                continue
            if name in declared:
                each = api.call(client, "GET", f"{PATH}/{each['id']}?include_secrets=true")  # noqa: PLW2901
            found[name] = Live(UUID(each["id"]), each)
        return found

    def compare(
        self, client: SyncPrefectClient, item: Declared[Block], live: Live | None
    ) -> list[str]:
        """The names of the fields that differ."""
        wanted = self._checked(item, self._schema(client, item)["fields"])
        if live is None:
            return []
        found = {
            **live.value["data"],
            **{
                name: {"$ref": {"block_document_id": each["block_document"]["id"]}}
                for name, each in live.value["block_document_references"].items()
            },
        }
        names = dict.fromkeys([*wanted, *found])
        return [name for name in names if wanted.get(name) != found.get(name)]

    def create(self, client: SyncPrefectClient, item: Declared[Block]) -> UUID:
        """With the newest schema of its type."""
        taken = self._schema(client, item)
        body = {
            "name": item.value.name,
            "data": self._checked(item, taken["fields"]),
            "block_type_id": taken["block_type_id"],
            "block_schema_id": taken["id"],
        }
        return UUID(api.call(client, "POST", f"{PATH}/", body)["id"])

    def update(self, client: SyncPrefectClient, item: Declared[Block], live: Live) -> None:
        """Replace what it holds."""
        taken = self._schema(client, item)
        body = {
            "data": self._checked(item, taken["fields"]),
            "block_schema_id": taken["id"],
            "merge_existing_data": False,
        }
        api.call(client, "PATCH", f"{PATH}/{live.id}", body)

    def delete(self, client: SyncPrefectClient, name: str, live: Live) -> None:  # noqa: ARG002
        """By id."""
        api.call(client, "DELETE", f"{PATH}/{live.id}")

    def _schema(self, client: SyncPrefectClient, item: Declared[Block]) -> dict[str, Any]:
        slug = item.value.type
        if slug not in self._schemas:
            kind = api.find(client, f"/block_types/slug/{slug}")
            if kind is None:
                raise self._unknown(client, item)
            body = {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}}
            self._schemas[slug] = next(api.every(client, "/block_schemas/filter", body))
        return self._schemas[slug]

    def _unknown(self, client: SyncPrefectClient, item: Declared[Block]) -> Exception:
        known = [each["slug"] for each in api.every(client, "/block_types/filter")]
        close = difflib.get_close_matches(item.value.type, known, n=1)
        return item.mistake(
            f"the block {item.name!r} has a type that the server does not know",
            "type",
            expected=close[0] if close else "a type that `prefect block type ls` shows",
            found=item.value.type,
            do=None if close else "prefect block register -m MODULE, or correct the type",
        )

    def _checked(self, item: Declared[Block], fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields as the server takes them, references and numbers included.

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
            if schema.errors({name: value}, fields):
                raise _wrong(item, name, fields["properties"][name].get("type", "another type"))
        try:
            known = PrefectBlock.get_block_class_from_key(item.value.type)
        except UnknownBlockType:
            return  # its package is not installed here: its schema has to do
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
        """The blocks that its fields are."""
        for field, value in item.value.data.items():
            if name := _referred(value):
                yield Need(self.name, name, ("data", field))

    def _reference(self, value: Any) -> dict[str, Any] | None:
        name = _referred(value)
        if name is None:
            return None
        return {"$ref": {"block_document_id": str(self.world.ids.get((self.name, name)))}}


def _referred(value: Any) -> str | None:
    match = REFERENCE.match(value) if isinstance(value, str) else None
    return f"{match[1]}/{match[2]}" if match else None


def _check_address(item: Declared[Block], data: Mapping[str, Any]) -> None:
    """Refuse an address that Apprise would drop without a word, and never send anything to."""
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
    """What `{{ $NAME }}` gave is text; a field that holds a number takes a number."""
    convert = NUMBERS.get(str(field.get("type")))
    if convert is None or not isinstance(value, str):
        return value
    try:
        return convert(value)
    except ValueError:
        return value  # the check that follows says what was expected
