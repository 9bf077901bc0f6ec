"""Tag limits: how many tasks with a tag run at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import Field

from server.bootstrap import api
from server.bootstrap.kind import Declared, Kind, Live, Strict
from server.bootstrap.kinds.concurrency_limits import OF_TAGS, PATH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.client.orchestration import SyncPrefectClient


class TagLimit(Strict):
    """The limit of one tag."""

    tag: Annotated[str, Field(min_length=1)]
    limit: Annotated[int, Field(ge=0)]


class TagLimits(Kind[TagLimit]):
    """The section `tag_limits`."""

    name = "tag limit"
    section = "tag_limits"
    order = 10
    model = TagLimit

    def label(self, value: Any) -> str:
        """The tag."""
        return str(value.tag)

    def read(
        self,
        client: SyncPrefectClient,
        items: Sequence[Declared[TagLimit]],  # noqa: ARG002
    ) -> dict[str, Live]:
        """By tag; the server keeps them among the global ones."""
        return {
            each["name"].removeprefix(OF_TAGS): Live(UUID(each["id"]), each)
            for each in api.every(client, f"{PATH}/filter")
            if each["name"].startswith(OF_TAGS)
        }

    def compare(
        self,
        client: SyncPrefectClient,  # noqa: ARG002
        item: Declared[TagLimit],
        live: Live | None,
    ) -> list[str]:
        """The limit."""
        return ["limit"] if live and live.value["limit"] != item.value.limit else []

    def create(self, client: SyncPrefectClient, item: Declared[TagLimit]) -> UUID:
        """Through the API of tags, which knows the name and what else goes with it."""
        body = {"tag": item.value.tag, "concurrency_limit": item.value.limit}
        return UUID(api.call(client, "POST", "/concurrency_limits/", body)["id"])

    def update(self, client: SyncPrefectClient, item: Declared[TagLimit], live: Live) -> None:
        """The limit; slots in use stay in use."""
        api.call(client, "PATCH", f"{PATH}/{live.id}", {"limit": item.value.limit})

    def delete(self, client: SyncPrefectClient, name: str, live: Live) -> None:  # noqa: ARG002
        """By id."""
        api.call(client, "DELETE", f"{PATH}/{live.id}")
