"""Work queues of a pool: which of its runs start first, and how many may run at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import Field

from server.bootstrap import api
from server.bootstrap.kind import Kind
from server.bootstrap.resource import Declared, Difference, Live, Need, Strict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from server.bootstrap.resource import Location

DEFAULT = "default"  # created by the server with every pool


class WorkQueue(Strict):
    """One queue, declared with its pool. Priorities are unique in a pool; 1 is the highest."""

    pool: str
    name: Annotated[str, Field(pattern=r"^[^/%&><]+$")]
    priority: Annotated[int, Field(ge=1)]
    concurrency_limit: Annotated[int, Field(ge=0)] | None = None
    description: str = ""


class WorkQueues(Kind[WorkQueue]):
    """The key `queues` of each item in the section `work_pools` of `stack.yaml`."""

    name = "work queue"
    section = "work_pools"
    order = 30
    model = WorkQueue

    def label(self, value: Any) -> str:
        """The names of the pool and the queue, POOL/QUEUE."""
        return f"{value.pool}/{value.name}"

    def find(self, content: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
        """The queues of all pools; a queue inherits the key `requires` from its pool."""
        for index, pool in enumerate(content.get(self.section) or []):
            if not isinstance(pool, dict):
                continue  # `WorkPools` reports it
            inherited = {"pool": pool.get("name"), "requires": pool.get("requires", [])}
            for number, queue in enumerate(pool.get("queues") or []):
                raw = {**inherited, **queue} if isinstance(queue, dict) else queue
                yield (self.section, index, "queues", number), raw

    def check(self, items: Sequence[Declared[WorkQueue]]) -> Sequence[Declared[WorkQueue]]:
        """Refuse equal priorities in a pool: the server would change one of them every time."""
        self._names_by_priority: dict[tuple[str, int], str] = {}
        valid = super().check(items)
        self._items = sorted(valid, key=lambda item: item.value.priority)
        return valid

    def check_one(self, item: Declared[WorkQueue]) -> None:
        """Refuse a priority that an earlier queue of the pool has."""
        key = (item.value.pool, item.value.priority)
        other = self._names_by_priority.setdefault(key, item.name)
        if other != item.name:
            raise item.mistake(
                f"the work queue {item.name!r} has the same priority as another one",
                "priority",
                expected="a different priority for each queue of a pool",
                found=f"{item.value.priority}, the priority of {other!r}",
            )

    def needs(self, item: Declared[WorkQueue]) -> Iterator[Need]:
        """The pool of the queue."""
        yield Need("work pool", item.value.pool, ())

    def every(self) -> Iterator[tuple[str, Live]]:
        """All queues with their names, POOL/QUEUE."""
        for queue in api.every(self.client, "/work_queues/filter"):
            yield f"{queue['work_pool_name']}/{queue['name']}", Live(UUID(queue["id"]), queue)

    def read(self, items: Sequence[Declared[WorkQueue]]) -> dict[str, Live]:
        """All queues except an undeclared `default`, which the server created with its pool."""
        declared = {item.name for item in items}
        return {
            name: live
            for name, live in super().read(items).items()
            if name in declared or live.value["name"] != DEFAULT
        }

    def compare(self, item: Declared[WorkQueue], live: Live | None) -> Difference:
        """Compare priority, limit and description, but not whether the queue is paused."""
        fields = item.value.model_dump(mode="json", exclude={"pool", "name"})
        if live is None:
            return Difference({"name": item.value.name, **fields})
        existing = {**live.value, "description": live.value["description"] or ""}
        return Difference(fields, tuple(n for n, value in fields.items() if existing[n] != value))

    def create(self, item: Declared[WorkQueue], payload: Any) -> UUID:
        """Create the queue, or update `default`, which the server created with the pool."""
        pool, name = item.value.pool, item.value.name
        queue = api.find(self.client, f"{_path(pool)}/{name}")
        if queue is None:
            queue = self.client.call("POST", _path(pool), payload)
        else:
            self.client.call("PATCH", f"{_path(pool)}/{name}", payload)
        self._set_priorities(pool)
        return UUID(queue["id"])

    def update(self, live: Live, payload: Any) -> None:
        pool = live.value["work_pool_name"]
        self.client.call("PATCH", f"{_path(pool)}/{live.value['name']}", payload)
        self._set_priorities(pool)

    def delete(self, live: Live) -> None:
        """Remove the queue; runs that wait in it stay with the pool."""
        pool, name = live.value["work_pool_name"], live.value["name"]
        self.client.call("DELETE", f"{_path(pool)}/{name}")

    def _set_priorities(self, pool: str) -> None:
        """Set all declared priorities of a pool again, in ascending order.

        The server makes room for a queue by changing the priorities of others, including declared
        ones.
        """
        live = {queue["name"] for queue in api.every(self.client, f"{_path(pool)}/filter")}
        for item in self._items:
            if item.value.pool == pool and item.value.name in live:
                body = {"priority": item.value.priority}
                self.client.call("PATCH", f"{_path(pool)}/{item.value.name}", body)


def _path(pool: str) -> str:
    return f"/work_pools/{pool}/queues"
