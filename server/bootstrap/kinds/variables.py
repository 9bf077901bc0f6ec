"""Variables: values that flows read at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import Field, JsonValue

from server.bootstrap import api
from server.bootstrap.kind import Declared, Kind, Live, Strict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.client.orchestration import SyncPrefectClient


class Variable(Strict):
    """One variable; its value is anything that JSON knows."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$", max_length=255)]
    value: JsonValue
    tags: list[str] = Field(default_factory=list)


class Variables(Kind[Variable]):
    """The section `variables`."""

    name = "variable"
    section = "variables"
    order = 10
    model = Variable

    def read(
        self,
        client: SyncPrefectClient,
        items: Sequence[Declared[Variable]],  # noqa: ARG002
    ) -> dict[str, Live]:
        """By name."""
        found = api.every(client, "/variables/filter", {"sort": "NAME_ASC"})
        return {each["name"]: Live(UUID(each["id"]), each) for each in found}

    def compare(
        self,
        client: SyncPrefectClient,  # noqa: ARG002
        item: Declared[Variable],
        live: Live | None,
    ) -> list[str]:
        """Value and tags."""
        wanted = _body(item.value)
        return [name for name in ("value", "tags") if live and live.value[name] != wanted[name]]

    def create(self, client: SyncPrefectClient, item: Declared[Variable]) -> UUID:
        """With its tags."""
        return UUID(api.call(client, "POST", "/variables/", _body(item.value))["id"])

    def update(self, client: SyncPrefectClient, item: Declared[Variable], live: Live) -> None:
        """Value and tags at once."""
        api.call(client, "PATCH", f"/variables/{live.id}", _body(item.value))

    def delete(self, client: SyncPrefectClient, name: str, live: Live) -> None:  # noqa: ARG002
        """By id: a variable of that name made since is another one."""
        api.call(client, "DELETE", f"/variables/{live.id}")


def _body(variable: Variable) -> dict[str, Any]:
    return variable.model_dump(mode="json")
