"""Global concurrency limits: slots that flows and tasks of any deployment share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from pydantic import Field

from server.bootstrap import api
from server.bootstrap.kind import Declared, Kind, Live, Strict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.client.orchestration import SyncPrefectClient

PATH = "/v2/concurrency_limits"
# The server keeps those of tags and of deployments in the same table, under these names.
OF_TAGS = "tag:"
OF_DEPLOYMENTS = "deployment:"


class ConcurrencyLimit(Strict):
    """One limit. With a decay, a slot is given back by time: a rate limit."""

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

    def check_one(self, item: Declared[ConcurrencyLimit]) -> None:
        """Refuse the names that the server keeps for itself."""
        if item.name.startswith((OF_TAGS, OF_DEPLOYMENTS)):
            raise item.mistake(
                f"the concurrency limit {item.name!r} has a name that the server uses itself",
                "name",
                expected=f"a name that starts with neither {OF_TAGS} nor {OF_DEPLOYMENTS}; "
                "the limits of tags go into tag_limits, those of a deployment to it",
                found=item.name,
            )

    def read(
        self,
        client: SyncPrefectClient,
        items: Sequence[Declared[ConcurrencyLimit]],  # noqa: ARG002
    ) -> dict[str, Live]:
        """By name, without those that belong to tags and deployments."""
        return {
            each["name"]: Live(UUID(each["id"]), each)
            for each in api.every(client, f"{PATH}/filter")
            if not each["name"].startswith((OF_TAGS, OF_DEPLOYMENTS))
        }

    def compare(
        self,
        client: SyncPrefectClient,  # noqa: ARG002
        item: Declared[ConcurrencyLimit],
        live: Live | None,
    ) -> list[str]:
        """Limit and decay."""
        fields = item.value.model_dump(include={"limit", "slot_decay_per_second"})
        return [name for name, value in fields.items() if live and live.value[name] != value]

    def create(self, client: SyncPrefectClient, item: Declared[ConcurrencyLimit]) -> UUID:
        """Active unless declared otherwise."""
        body = item.value.model_dump(mode="json")
        return UUID(api.call(client, "POST", f"{PATH}/", body)["id"])

    def update(
        self, client: SyncPrefectClient, item: Declared[ConcurrencyLimit], live: Live
    ) -> None:
        """Limit and decay; whether it is active is the business of whoever switched it."""
        body = item.value.model_dump(mode="json", include={"limit", "slot_decay_per_second"})
        api.call(client, "PATCH", f"{PATH}/{live.id}", body)

    def delete(self, client: SyncPrefectClient, name: str, live: Live) -> None:  # noqa: ARG002
        """By id."""
        api.call(client, "DELETE", f"{PATH}/{live.id}")
