"""The interface of a kind of resource; `kinds/` has a module for each kind."""

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

    Everything is read and checked before the first write: `check` needs no server, while `compare`
    may read from it and plans the bodies that `create` and `update` send. Switches of the UI
    (paused, active, enabled) apply only when a resource is created; later they are neither compared
    nor sent, so that a person's choice stays.
    """

    name: ClassVar[str]  # shown in the plan
    section: ClassVar[str]  # the top-level key of its declarations
    order: ClassVar[int]  # low ones are created first and removed last, as others refer to them
    model: ClassVar[type[Strict]]
    file: ClassVar[str] = "stack.yaml"
    path: ClassVar[str]  # the path of the resources in the API

    def __init__(self, world: World, client: Client) -> None:
        self.world = world
        self.client = client

    def label(self, value: Any) -> str:
        """The name that the plan shows for the resource declared by `value`, a `model`."""
        return str(value.name)

    def find(self, content: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
        """Yield the location and the content of every declaration of this kind in a file."""
        for index, raw in enumerate(content.get(self.section) or []):
            yield (self.section, index), raw

    exact: ClassVar[bool] = True  # whether `label` returns the name on the server

    def check(self, items: Sequence[Declared[Model]]) -> Sequence[Declared[Model]]:
        """Check what the model cannot, and return the valid items, named as on the server."""
        valid: list[Declared[Model]] = []
        for item in items:
            with self.world.skip_on_mistake(self.name, item.name, item.place):
                self.check_one(item)
                valid.append(item)
        return valid

    def check_one(self, item: Declared[Model]) -> None:
        """Check one item.

        Raises:
            MistakeError: the item is wrong; the message names its file and line.
        """

    def needs(self, item: Declared[Model]) -> Iterator[Need]:  # noqa: ARG002
        """The resources that `item` refers to, which have to exist before it."""
        yield from ()

    @abstractmethod
    def every(self) -> Iterator[tuple[str, Live]]:
        """All resources of this kind on the server with their names, which may not be unique."""

    def read(self, items: Sequence[Declared[Model]]) -> dict[str, Live]:  # noqa: ARG002
        """The resources on the server with which declarations are compared, by name."""
        return dict(self.every())

    @abstractmethod
    def compare(self, item: Declared[Model], live: Live | None) -> Difference:
        """Plan how to create `item`, or how to update `live` if it exists already.

        Raises:
            MistakeError: the server would not accept `item`.
        """

    def still_active(self, live: Live) -> str | None:  # noqa: ARG002
        """What `live` still does although it is no longer declared; None if it does nothing."""
        return None

    @abstractmethod
    def create(self, item: Declared[Model], payload: Any) -> UUID:
        """Create `item` with the payload that `compare` planned, and return its id."""

    @abstractmethod
    def update(self, live: Live, payload: Any) -> None:
        """Update `live` with the payload that `compare` planned."""

    def delete(self, live: Live) -> None:
        """Remove `live` from the server."""
        self.client.call("DELETE", f"{self.path}/{live.id}")
