"""What every kind of resource has to know of itself; each kind is one module in `kinds/`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from server.bootstrap.problems import Wrong
from server.errors import MistakeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

    from server.bootstrap.yaml_file import YamlFile

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

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file.name} line {self.file.line(self.where)}"

    @property
    def is_filled(self) -> bool:
        """Whether a value in it came from elsewhere, and may be a secret."""
        return any(each[: len(self.where)] == self.where for each in self.file.filled)


@dataclass(frozen=True)
class Need:
    """Another resource that one names, and where it does."""

    kind: str
    name: str
    within: Location


@dataclass(frozen=True)
class Live:
    """One resource of the server: its id, and what the kind keeps of it."""

    id: UUID
    value: Any


@dataclass
class World:
    """What the kinds share: where the declarations are, and what there is to refer to."""

    root: Path
    common: dict[str, str] = field(default_factory=dict)  # what every run has in its environment
    declared: set[tuple[str, str]] = field(default_factory=set)  # kind and name
    ids: dict[tuple[str, str], UUID] = field(default_factory=dict)  # of what is live
    templates: dict[str, dict[str, Any]] = field(default_factory=dict)  # of jobs, by pool
    wrong: list[Wrong] = field(default_factory=list)
    problems: list[MistakeError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what is taken and may not be what is meant

    def knows(self, kind: str, name: str) -> bool:
        """Whether a reference to it will hold once all is applied."""
        return (kind, name) in self.declared or (kind, name) in self.ids

    def note(self, item: Declared[Any], what: str, *within: str | int) -> None:
        """Say of a declaration that is taken that it may not be what is meant."""
        line = item.file.line((*item.where, *within))
        self.notes.append(f"{item.file.name} line {line}: {what}")

    def wrong_one(self, kind: str, name: str) -> Wrong | None:
        """The wrong declaration that may be that of this resource."""
        if (kind, name) in self.declared:
            return None
        return next((each for each in self.wrong if each.may_be(kind, name)), None)

    def leave_out(self, kind: str, name: str | None, place: str, *, exact: bool = True) -> None:
        """Leave a resource as it is on the server, with all that names it."""
        if name is not None:
            self.declared.discard((kind, name))
        self.wrong.append(Wrong(kind, name, exact, place))

    @contextmanager
    def sparing(
        self, kind: str, name: str | None, place: str, *, exact: bool = True
    ) -> Iterator[None]:
        """Keep a mistake in one declaration from the others: it is noted, and that one left out."""
        try:
            yield
        except MistakeError as error:
            self.problems.append(error)
            self.leave_out(kind, name, place, exact=exact)


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

    exact: ClassVar[bool] = True  # whether a label is the name that the server has

    def check(self, items: Sequence[Declared[Model]]) -> Sequence[Declared[Model]]:
        """Check what the model cannot say; those that are right, by the names of the server."""
        right: list[Declared[Model]] = []
        for item in items:
            with self.world.sparing(self.name, item.name, item.place):
                self.check_one(item)
                right.append(item)
        return right

    def check_one(self, item: Declared[Model]) -> None:
        """Check one of them.

        Raises:
            MistakeError: naming file and line.
        """

    def needs(self, item: Declared[Model]) -> Iterator[Need]:  # noqa: ARG002
        """What `item` names that has to be there before it."""
        yield from ()

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

    def goes_on(self, live: Live) -> str | None:  # noqa: ARG002
        """What `live` still does by itself, for somebody who declares it no longer."""
        return None

    @abstractmethod
    def create(self, client: SyncPrefectClient, item: Declared[Model]) -> UUID:
        """Make `item`; its id."""

    @abstractmethod
    def update(self, client: SyncPrefectClient, item: Declared[Model], live: Live) -> None:
        """Make `live` what `item` says."""

    @abstractmethod
    def delete(self, client: SyncPrefectClient, name: str, live: Live) -> None:
        """Remove `live`."""
