"""Tag limits: how many tasks with a given tag may run at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import Field

from server.bootstrap import api
from server.bootstrap.kind import Kind
from server.bootstrap.kinds.concurrency_limits import PATH, TAG_PREFIX
from server.bootstrap.resource import Declared, Difference, Live, Strict

if TYPE_CHECKING:
    from collections.abc import Iterator


class TagLimit(Strict):
    """The concurrency limit of one tag."""

    tag: Annotated[str, Field(min_length=1)]
    limit: Annotated[int, Field(ge=0)]


class TagLimits(Kind[TagLimit]):
    """The section `tag_limits` of `stack.yaml`."""

    name = "tag limit"
    section = "tag_limits"
    order = 10
    model = TagLimit
    path = PATH

    def label(self, value: Any) -> str:
        return str(value.tag)

    def every(self) -> Iterator[tuple[str, Live]]:
        """All tag limits with their tags; the server keeps them among the global limits."""
        for limit in api.every(self.client, f"{self.path}/filter"):
            if limit["name"].startswith(TAG_PREFIX):
                yield limit["name"].removeprefix(TAG_PREFIX), Live(UUID(limit["id"]), limit)

    def compare(self, item: Declared[TagLimit], live: Live | None) -> Difference:
        if live is None:
            return Difference({"tag": item.value.tag, "concurrency_limit": item.value.limit})
        changed = ("limit",) if live.value["limit"] != item.value.limit else ()
        return Difference({"limit": item.value.limit}, changed)

    def create(self, item: Declared[TagLimit], payload: Any) -> UUID:  # noqa: ARG002
        """Create the limit through the API of tag limits, which adds the prefix to its name."""
        return UUID(self.client.call("POST", "/concurrency_limits/", payload)["id"])

    def update(self, live: Live, payload: Any) -> None:
        """Change the limit; slots that are in use stay in use."""
        self.client.call("PATCH", f"{self.path}/{live.id}", payload)
