"""What every kind of resource has to know of itself; each kind is one module in `kinds/`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

    from server.bootstrap.yaml_file import YamlFile
    from server.errors import MistakeError

Location = tuple[str | int, ...]


class Strict(BaseModel):
    """A mapping without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=Strict)


@dataclass(frozen=True)
class Declared(Generic[Model]):
    """One resource of a declaration, and where it stands."""

    name: str
    value: Model
    file: YamlFile
    where: Location

    def mistake(
        self,
        what: str,
        *within: str | int,
        expected: str | None = None,
        found: str | None = None,
        do: str | None = None,
    ) -> MistakeError:
        """A mistake at `within` this resource."""
        return self.file.mistake(
            (*self.where, *within), what, expected=expected, found=found, do=do
        )


@dataclass(frozen=True)
class Live:
    """One resource of the server: its id, and what the kind keeps of it."""

    id: UUID
    value: Any


@dataclass
class World:
    """What the kinds share: where the declarations are, and what there is to refer to."""

    root: Path
    declared: set[tuple[str, str]] = field(default_factory=set)  # kind and name
    ids: dict[tuple[str, str], UUID] = field(default_factory=dict)  # of what is live

    def knows(self, kind: str, name: str) -> bool:
        """Whether a reference to it will hold once all is applied."""
        return (kind, name) in self.declared or (kind, name) in self.ids


class Kind(ABC, Generic[Model]):
    """One kind of resource.

    Everything is read and checked before the first write: `check` needs no server, `compare` may
    read from it. What people switch in the UI (paused, active, enabled) counts only when a resource
    is made, and is never compared or sent again.
    """

    name: ClassVar[str]  # as the plan calls it
    section: ClassVar[str]  # the key that it is declared under
    order: ClassVar[int]  # lower ones are made first and removed last: others refer to them
    model: ClassVar[type[Strict]]
    file: ClassVar[str] = "stack.yaml"

    def __init__(self, world: World) -> None:
        """Know what the other kinds have."""
        self.world = world

    def label(self, value: Any) -> str:
        """The name of the resource that `value`, a `model`, declares, as the plan shows it."""
        return str(value.name)

    def find(self, content: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
        """Every declaration of this kind in a file, and where it stands."""
        for index, raw in enumerate(content.get(self.section) or []):
            yield (self.section, index), raw

    def check(self, items: Sequence[Declared[Model]]) -> Sequence[Declared[Model]]:
        """Check what the model cannot say; the resources, by the names that the server has.

        Raises:
            MistakeError: naming file and line.
        """
        return items

    @abstractmethod
    def read(self, client: SyncPrefectClient, items: Sequence[Declared[Model]]) -> dict[str, Live]:
        """All resources of this kind that the server has, by name."""

    @abstractmethod
    def compare(
        self, client: SyncPrefectClient, item: Declared[Model], live: Live | None
    ) -> list[str]:
        """The fields of `live` that differ from `item`; none when there is no `live`.

        Raises:
            MistakeError: the server would not take `item`.
        """

    @abstractmethod
    def create(self, client: SyncPrefectClient, item: Declared[Model]) -> UUID:
        """Make `item`; its id."""

    @abstractmethod
    def update(self, client: SyncPrefectClient, item: Declared[Model], live: Live) -> None:
        """Make `live` what `item` says."""

    @abstractmethod
    def delete(self, client: SyncPrefectClient, name: str, live: Live) -> None:
        """Remove `live`."""
