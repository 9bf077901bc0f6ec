"""A resource as declared, the same resource on the server, and the difference between the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from uuid import UUID

    from server.bootstrap.yaml_file import YamlFile
    from server.errors import MistakeError

Location = tuple[str | int, ...]


class Strict(BaseModel):
    """A model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=Strict)


@dataclass(frozen=True)
class Declared(Generic[Model]):
    """One declared resource, and the location of its declaration."""

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
        """An error about this declaration, at the key that `within` leads to."""
        return self.file.mistake(
            (*self.where, *within), what, expected=expected, found=found, do=do
        )

    @property
    def place(self) -> str:
        """The file and line of the declaration, for a message."""
        return f"{self.file.name} line {self.file.line(self.where)}"

    @property
    def is_filled(self) -> bool:
        """Whether the declaration contains a substituted value, which may be a secret."""
        return any(location[: len(self.where)] == self.where for location in self.file.filled)


@dataclass(frozen=True)
class Need:
    """A resource that a declaration refers to, and the key within the declaration that does."""

    kind: str
    name: str
    within: Location


@dataclass(frozen=True)
class Live:
    """One resource on the server: its id, and its content in a form that depends on the kind."""

    id: UUID
    value: Any


@dataclass(frozen=True)
class Difference:
    """How a declaration differs from the server, and the payload that removes the difference."""

    payload: Any  # JSON for `create` or `update`
    fields: tuple[str, ...] = ()  # the names of the fields that differ
