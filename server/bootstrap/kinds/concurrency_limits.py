"""Global concurrency limits: slots that flows and tasks of any deployment share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import Field

from server.bootstrap import api
from server.bootstrap.kind import Kind
from server.bootstrap.resource import Declared, Difference, Live, Strict

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/v2/concurrency_limits"
# The server keeps the limits of tags and deployments in the same table, with these prefixes.
OF_TAGS = "tag:"
OF_DEPLOYMENTS = "deployment:"


class ConcurrencyLimit(Strict):
    """One limit. With a decay, slots are released over time: a rate limit."""

    name: Annotated[str, Field(pattern=r"^[^/%&><]+$")]
    limit: Annotated[int, Field(ge=0)]
    slot_decay_per_second: Annotated[float, Field(ge=0)] = 0.0
    active: bool = True  # when it is made


class ConcurrencyLimits(Kind[ConcurrencyLimit]):
    """The section `concurrency_limits`."""

    name = "concurrency limit"
    section = "concurrency_limits"
    order = 10
    model = ConcurrencyLimit
    path = PATH

    def check_one(self, item: Declared[ConcurrencyLimit]) -> None:
        """Refuse the names that the server reserves."""
        if item.name.startswith((OF_TAGS, OF_DEPLOYMENTS)):
            raise item.mistake(
                f"the concurrency limit {item.name!r} has a name that the server uses itself",
                "name",
                expected=f"a name that starts with neither {OF_TAGS} nor {OF_DEPLOYMENTS}; "
                "the limits of tags go into tag_limits, those of a deployment to it",
                found=item.name,
            )

    def every(self) -> Iterator[tuple[str, Live]]:
        """All limits except those of tags and deployments."""
        for each in api.every(self.client, f"{self.path}/filter"):
            if not each["name"].startswith((OF_TAGS, OF_DEPLOYMENTS)):
                yield each["name"], Live(UUID(each["id"]), each)

    def compare(self, item: Declared[ConcurrencyLimit], live: Live | None) -> Difference:
        """Compare limit and decay; whether it is active is up to whoever switched it."""
        body = item.value.model_dump(mode="json")
        if live is None:
            return Difference(body)
        kept = {name: body[name] for name in ("limit", "slot_decay_per_second")}
        return Difference(kept, tuple(n for n, value in kept.items() if live.value[n] != value))

    def create(self, item: Declared[ConcurrencyLimit], payload: Any) -> UUID:  # noqa: ARG002
        """Create it, active unless it is declared otherwise."""
        return UUID(self.client.call("POST", f"{self.path}/", payload)["id"])

    def update(self, live: Live, payload: Any) -> None:
        self.client.call("PATCH", f"{self.path}/{live.id}", payload)
