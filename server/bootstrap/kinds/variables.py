"""Variables: values that flows read at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import Field, JsonValue

from server.bootstrap import api
from server.bootstrap.kind import Kind
from server.bootstrap.resource import Declared, Difference, Live, Strict

if TYPE_CHECKING:
    from collections.abc import Iterator


class Variable(Strict):
    """One variable; its value is any JSON."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$", max_length=255)]
    value: JsonValue
    tags: list[str] = Field(default_factory=list)


class Variables(Kind[Variable]):
    """The section `variables` of `stack.yaml`."""

    name = "variable"
    section = "variables"
    order = 10
    model = Variable
    path = "/variables"

    def every(self) -> Iterator[tuple[str, Live]]:
        for variable in api.every(self.client, f"{self.path}/filter", {"sort": "NAME_ASC"}):
            yield variable["name"], Live(UUID(variable["id"]), variable)

    def compare(self, item: Declared[Variable], live: Live | None) -> Difference:
        body = item.value.model_dump(mode="json")
        changed = (name for name in ("value", "tags") if live and live.value[name] != body[name])
        return Difference(body, tuple(changed))

    def create(self, item: Declared[Variable], payload: Any) -> UUID:  # noqa: ARG002
        return UUID(self.client.call("POST", f"{self.path}/", payload)["id"])

    def update(self, live: Live, payload: Any) -> None:
        self.client.call("PATCH", f"{self.path}/{live.id}", payload)
