"""Work queues: which runs of a pool go first, and how many of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import Field

from server.bootstrap import api
from server.bootstrap.kind import Declared, Kind, Live, Need, Strict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prefect.client.orchestration import SyncPrefectClient

    from server.bootstrap.kind import Location

DEFAULT = "default"  # made by the server with every pool


class WorkQueue(Strict):
    """One queue of a pool, declared with it. Priority 1 goes first; no two have the same."""

    pool: str
    name: Annotated[str, Field(pattern=r"^[^/%&><]+$")]
    priority: Annotated[int, Field(ge=1)]
    concurrency_limit: Annotated[int, Field(ge=0)] | None = None
    description: str = ""


class WorkQueues(Kind[WorkQueue]):
    """The `queues` of each of the `work_pools`."""

    name = "work queue"
    section = "work_pools"
    order = 30
    model = WorkQueue

    def label(self, value: Any) -> str:
        """With the pool before it."""
        return f"{value.pool}/{value.name}"

    def find(self, content: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
        """In the pools; a queue needs what its pool requires."""
        for index, pool in enumerate(content.get(self.section) or []):
            if not isinstance(pool, dict):
                continue  # its own kind says so
            inherited = {"pool": pool.get("name"), "requires": pool.get("requires", [])}
            for number, queue in enumerate(pool.get("queues") or []):
                raw = {**inherited, **queue} if isinstance(queue, dict) else queue
                yield (self.section, index, "queues", number), raw

    def check(self, items: Sequence[Declared[WorkQueue]]) -> Sequence[Declared[WorkQueue]]:
        """Refuse two queues of one priority: the server would move one of them on each time."""
        self._seen: dict[tuple[str, int], str] = {}
        right = super().check(items)
        self._items = sorted(right, key=lambda item: item.value.priority)
        return right

    def check_one(self, item: Declared[WorkQueue]) -> None:
        """Refuse the priority of one that was before."""
        other = self._seen.setdefault((item.value.pool, item.value.priority), item.name)
        if other != item.name:
            raise item.mistake(
                f"the work queue {item.name!r} has the priority of another",
                "priority",
                expected="a priority for each queue of a pool",
                found=f"{item.value.priority}, which is that of {other!r}",
            )

    def needs(self, item: Declared[WorkQueue]) -> Iterator[Need]:
        """Its pool."""
        yield Need("work pool", item.value.pool, ())

    def read(
        self, client: SyncPrefectClient, items: Sequence[Declared[WorkQueue]]
    ) -> dict[str, Live]:
        """By pool and name; a `default` only where it is declared: its pool brings it."""
        declared = {item.name for item in items}
        found = {
            f"{each['work_pool_name']}/{each['name']}": Live(UUID(each["id"]), each)
            for each in api.every(client, "/work_queues/filter")
        }
        return {
            name: live
            for name, live in found.items()
            if name in declared or live.value["name"] != DEFAULT
        }

    def compare(
        self,
        client: SyncPrefectClient,  # noqa: ARG002
        item: Declared[WorkQueue],
        live: Live | None,
    ) -> list[str]:
        """Priority, limit and description."""
        if live is None:
            return []
        found = {**live.value, "description": live.value["description"] or ""}
        return [name for name, value in _fields(item.value).items() if found[name] != value]

    def create(self, client: SyncPrefectClient, item: Declared[WorkQueue]) -> UUID:
        """Make it, or find it: the server made `default` with the pool."""
        queue = item.value
        path = f"/work_pools/{queue.pool}/queues"
        made = api.find(client, f"{path}/{queue.name}")
        if made is None:
            made = api.call(client, "POST", path, {"name": queue.name, **_fields(queue)})
        else:
            api.call(client, "PATCH", f"{path}/{queue.name}", _fields(queue))
        self._set_priorities(client, queue.pool)
        return UUID(made["id"])

    def update(self, client: SyncPrefectClient, item: Declared[WorkQueue], live: Live) -> None:
        """All fields at once; whether it is paused is not sent."""
        path = f"/work_pools/{item.value.pool}/queues/{live.value['name']}"
        api.call(client, "PATCH", path, _fields(item.value))
        self._set_priorities(client, item.value.pool)

    def delete(self, client: SyncPrefectClient, name: str, live: Live) -> None:
        """Runs that wait in it stay with the pool."""
        pool = name.removesuffix(f"/{live.value['name']}")
        api.call(client, "DELETE", f"/work_pools/{pool}/queues/{live.value['name']}")

    def _set_priorities(self, client: SyncPrefectClient, pool: str) -> None:
        """Say every declared priority again, from the first on.

        The server makes room for a queue by moving others back, declared ones too.
        """
        path = f"/work_pools/{pool}/queues"
        live = {each["name"] for each in api.every(client, f"{path}/filter")}
        for item in self._items:
            if item.value.pool == pool and item.value.name in live:
                body = {"priority": item.value.priority}
                api.call(client, "PATCH", f"{path}/{item.value.name}", body)


def _fields(queue: WorkQueue) -> dict[str, Any]:
    return queue.model_dump(mode="json", exclude={"pool", "name"})
