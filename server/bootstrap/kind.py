"""The interface of a kind of resource; each kind is one module in `kinds/`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from server.bootstrap.resource import Model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from server.bootstrap.api import Client
    from server.bootstrap.resource import Declared, Difference, Live, Location, Need, Strict
    from server.bootstrap.world import World


class Kind(ABC, Generic[Model]):
    """One kind of resource.

    Everything is read and checked before the first write: `check` needs no server, `compare` may
    read from it and plans the bodies that `create` and `update` send. What people switch in the UI
    (paused, active, enabled) counts only when a resource is created, and is never compared or sent
    again.
    """

    name: ClassVar[str]  # as the plan calls it
    section: ClassVar[str]  # the key that it is declared under
    order: ClassVar[int]  # lower ones are created first and removed last: others refer to them
    model: ClassVar[type[Strict]]
    file: ClassVar[str] = "stack.yaml"
    path: ClassVar[str]  # in the API

    def __init__(self, world: World, client: Client) -> None:
        self.world = world
        self.client = client

    def label(self, value: Any) -> str:
        """The name, as the plan shows it, of the resource that `value`, a `model`, declares."""
        return str(value.name)

    def find(self, content: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
        """Every declaration of this kind in a file, and where it stands."""
        for index, raw in enumerate(content.get(self.section) or []):
            yield (self.section, index), raw

    exact: ClassVar[bool] = True  # whether the label is the name on the server

    def check(self, items: Sequence[Declared[Model]]) -> Sequence[Declared[Model]]:
        """Check what the model cannot, and return the valid items by their names on the server."""
        right: list[Declared[Model]] = []
        for item in items:
            with self.world.sparing(self.name, item.name, item.place):
                self.check_one(item)
                right.append(item)
        return right

    def check_one(self, item: Declared[Model]) -> None:
        """Check one item.

        Raises:
            MistakeError: naming file and line.
        """

    def needs(self, item: Declared[Model]) -> Iterator[Need]:  # noqa: ARG002
        """The resources that have to exist before `item`."""
        yield from ()

    @abstractmethod
    def every(self) -> Iterator[tuple[str, Live]]:
        """All resources of this kind on the server with their names, of which two may be equal."""

    def read(self, items: Sequence[Declared[Model]]) -> dict[str, Live]:  # noqa: ARG002
        """The resources that declarations are compared with, by name."""
        return dict(self.every())

    @abstractmethod
    def compare(self, item: Declared[Model], live: Live | None) -> Difference:
        """Plan how to create `item`, or, where it is `live`, how to update it.

        Raises:
            MistakeError: the server would not accept `item`.
        """

    def goes_on(self, live: Live) -> str | None:  # noqa: ARG002
        """What `live` still does by itself, for somebody who no longer declares it."""
        return None

    @abstractmethod
    def create(self, item: Declared[Model], payload: Any) -> UUID:
        """Create `item` from the payload of its comparison, and return its id."""

    @abstractmethod
    def update(self, live: Live, payload: Any) -> None:
        """Make `live` what was declared, with the payload of its comparison."""

    def delete(self, live: Live) -> None:
        """Remove `live` from the server."""
        self.client.call("DELETE", f"{self.path}/{live.id}")
