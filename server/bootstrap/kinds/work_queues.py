"""Work queues: which runs of a pool start first, and how many may run at once."""

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
    """One queue, declared with its pool. Priority 1 comes first; no two have the same."""

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
        """The name of the pool, then its own."""
        return f"{value.pool}/{value.name}"

    def find(self, content: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
        """The queues of each pool; a queue requires what its pool does."""
        for index, pool in enumerate(content.get(self.section) or []):
            if not isinstance(pool, dict):
                continue  # the kind of work pools reports it
            inherited = {"pool": pool.get("name"), "requires": pool.get("requires", [])}
            for number, queue in enumerate(pool.get("queues") or []):
                raw = {**inherited, **queue} if isinstance(queue, dict) else queue
                yield (self.section, index, "queues", number), raw

    def check(self, items: Sequence[Declared[WorkQueue]]) -> Sequence[Declared[WorkQueue]]:
        """Refuse two queues with one priority: the server would move one of them every time."""
        self._seen: dict[tuple[str, int], str] = {}
        right = super().check(items)
        self._items = sorted(right, key=lambda item: item.value.priority)
        return right

    def check_one(self, item: Declared[WorkQueue]) -> None:
        """Refuse a priority that an earlier queue has."""
        other = self._seen.setdefault((item.value.pool, item.value.priority), item.name)
        if other != item.name:
            raise item.mistake(
                f"the work queue {item.name!r} has the priority of another",
                "priority",
                expected="a priority for each queue of a pool",
                found=f"{item.value.priority}, which is that of {other!r}",
            )

    def needs(self, item: Declared[WorkQueue]) -> Iterator[Need]:
        """The pool that it belongs to."""
        yield Need("work pool", item.value.pool, ())

    def every(self) -> Iterator[tuple[str, Live]]:
        """All queues by pool and name."""
        for each in api.every(self.client, "/work_queues/filter"):
            yield f"{each['work_pool_name']}/{each['name']}", Live(UUID(each["id"]), each)

    def read(self, items: Sequence[Declared[WorkQueue]]) -> dict[str, Live]:
        """Leave out an undeclared `default`: the server created it with its pool."""
        declared = {item.name for item in items}
        return {
            name: live
            for name, live in super().read(items).items()
            if name in declared or live.value["name"] != DEFAULT
        }

    def compare(self, item: Declared[WorkQueue], live: Live | None) -> Difference:
        """Compare priority, limit and description; whether it is paused is not sent."""
        fields = item.value.model_dump(mode="json", exclude={"pool", "name"})
        if live is None:
            return Difference({"name": item.value.name, **fields})
        found = {**live.value, "description": live.value["description"] or ""}
        return Difference(fields, tuple(n for n, value in fields.items() if found[n] != value))

    def create(self, item: Declared[WorkQueue], payload: Any) -> UUID:
        """Create it, or update `default`, which the server created with the pool."""
        pool, name = item.value.pool, item.value.name
        found = api.find(self.client, f"{_path(pool)}/{name}")
        if found is None:
            found = self.client.call("POST", _path(pool), payload)
        else:
            self.client.call("PATCH", f"{_path(pool)}/{name}", payload)
        self._set_priorities(pool)
        return UUID(found["id"])

    def update(self, live: Live, payload: Any) -> None:
        pool = live.value["work_pool_name"]
        self.client.call("PATCH", f"{_path(pool)}/{live.value['name']}", payload)
        self._set_priorities(pool)

    def delete(self, live: Live) -> None:
        """Remove it; runs that wait in it stay with the pool."""
        pool, name = live.value["work_pool_name"], live.value["name"]
        self.client.call("DELETE", f"{_path(pool)}/{name}")

    def _set_priorities(self, pool: str) -> None:
        """Set every declared priority again, the first of them first.

        The server makes room for a queue by moving others back, declared ones too.
        """
        live = {each["name"] for each in api.every(self.client, f"{_path(pool)}/filter")}
        for item in self._items:
            if item.value.pool == pool and item.value.name in live:
                body = {"priority": item.value.priority}
                self.client.call("PATCH", f"{_path(pool)}/{item.value.name}", body)


def _path(pool: str) -> str:
    return f"/work_pools/{pool}/queues"
