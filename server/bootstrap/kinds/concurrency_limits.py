"""Global concurrency limits: slots shared by the flows and tasks of all deployments."""

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
# The server keeps the limits of tags and of deployments in the same table, under these prefixes.
TAG_PREFIX = "tag:"
DEPLOYMENT_PREFIX = "deployment:"


class ConcurrencyLimit(Strict):
    """One limit; with a decay it is a rate limit, whose slots become free again over time."""

    name: Annotated[str, Field(pattern=r"^[^/%&><]+$")]
    limit: Annotated[int, Field(ge=0)]
    slot_decay_per_second: Annotated[float, Field(ge=0)] = 0.0
    active: bool = True  # applies only when it is created


class ConcurrencyLimits(Kind[ConcurrencyLimit]):
    """The section `concurrency_limits` of `stack.yaml`."""

    name = "concurrency limit"
    section = "concurrency_limits"
    order = 10
    model = ConcurrencyLimit
    path = PATH

    def check_one(self, item: Declared[ConcurrencyLimit]) -> None:
        """Refuse names that the server reserves."""
        if item.name.startswith((TAG_PREFIX, DEPLOYMENT_PREFIX)):
            raise item.mistake(
                f"the concurrency limit {item.name!r} has a name that the server uses itself",
                "name",
                expected=f"a name that starts with neither {TAG_PREFIX} nor {DEPLOYMENT_PREFIX}; "
                "limits of tags belong in tag_limits, the limit of a deployment in the deployment",
                found=item.name,
            )

    def every(self) -> Iterator[tuple[str, Live]]:
        """All limits except those of tags and deployments."""
        for limit in api.every(self.client, f"{self.path}/filter"):
            if not limit["name"].startswith((TAG_PREFIX, DEPLOYMENT_PREFIX)):
                yield limit["name"], Live(UUID(limit["id"]), limit)

    def compare(self, item: Declared[ConcurrencyLimit], live: Live | None) -> Difference:
        """Compare limit and decay, but not `active`, which people switch in the UI."""
        body = item.value.model_dump(mode="json")
        if live is None:
            return Difference(body)
        fields = {name: body[name] for name in ("limit", "slot_decay_per_second")}
        return Difference(fields, tuple(n for n, value in fields.items() if live.value[n] != value))

    def create(self, item: Declared[ConcurrencyLimit], payload: Any) -> UUID:  # noqa: ARG002
        return UUID(self.client.call("POST", f"{self.path}/", payload)["id"])

    def update(self, live: Live, payload: Any) -> None:
        self.client.call("PATCH", f"{self.path}/{live.id}", payload)
