"""A resource as it is declared, as it is on the server, and the difference between the two."""

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
    """One declared resource, and where its declaration is."""

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
        """A mistake in this declaration, at the key `within` it."""
        return self.file.mistake(
            (*self.where, *within), what, expected=expected, found=found, do=do
        )

    @property
    def place(self) -> str:
        return f"{self.file.name} line {self.file.line(self.where)}"

    @property
    def is_filled(self) -> bool:
        """Whether it contains a substituted value, which may be a secret."""
        return any(each[: len(self.where)] == self.where for each in self.file.filled)


@dataclass(frozen=True)
class Need:
    """A resource that another one refers to, and where it does."""

    kind: str
    name: str
    within: Location


@dataclass(frozen=True)
class Live:
    """One resource on the server: its id, and its content in the form that its kind uses."""

    id: UUID
    value: Any


@dataclass(frozen=True)
class Difference:
    """The difference between a declaration and the server, and the payload that removes it."""

    payload: Any  # JSON, which `create` or `update` sends as it is
    fields: tuple[str, ...] = ()  # the names of the fields that differ
