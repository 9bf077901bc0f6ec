"""What the kinds share: the declarations, the resources that they may refer to, and the mistakes.

Mistakes are collected, so that one wrong declaration keeps no other from being applied.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, UUID, uuid5

from server.errors import MistakeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from server.bootstrap.resource import Declared


@dataclass(frozen=True)
class Wrong:
    """One wrong declaration: the resource that it would declare stays as it is on the server."""

    kind: str
    name: str | None  # None: no name could be read
    exact: bool  # whether the server knows the resource by this name, or by one that ends like it
    place: str  # file and line

    def may_be(self, kind: str, name: str) -> bool:
        """Whether this may declare the resource of that name."""
        if kind != self.kind:
            return False
        if self.name is None:
            return True
        if self.exact:
            return self.name == name
        return self.name.rsplit("/", 1)[-1] == name.rsplit("/", 1)[-1]


class DeclarationError(MistakeError):
    """Some declarations are wrong. The others were applied, unless only a plan was asked for."""

    def __init__(self, problems: Sequence[MistakeError]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        if len(self.problems) == 1:
            super().__init__(
                first.what,
                expected=first.expected,
                found=first.found,
                do=first.do,
                details=first.details,
            )
            return
        lines = [f"{len(self.problems)} declarations are wrong"]
        for problem in self.problems:
            lines += ["", *(f"  {line}" for line in problem.render().splitlines())]
        super().__init__("\n".join(lines))


@dataclass
class World:
    """The state of one bootstrap: what is declared, what is live, and what is wrong."""

    root: Path  # the folder of the declarations
    common: dict[str, str] = field(default_factory=dict)  # in the environment of every run
    declared: set[tuple[str, str]] = field(default_factory=set)  # kind and name
    ids: dict[tuple[str, str], UUID] = field(default_factory=dict)  # of what is live
    templates: dict[str, dict[str, Any]] = field(default_factory=dict)  # of jobs, by pool
    wrong: list[Wrong] = field(default_factory=list)
    problems: list[MistakeError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what is accepted, but may not be intended

    def knows(self, kind: str, name: str) -> bool:
        """Whether a reference to it will hold once all is applied."""
        return (kind, name) in self.declared or (kind, name) in self.ids

    def id_of(self, kind: str, name: str) -> str:
        """The id of a resource, for a payload; a provisional one until the resource is created."""
        return str(self.ids.get((kind, name)) or _provisional(kind, name))

    def with_ids(self, payload: Any) -> Any:
        """`payload` with the ids of resources that were created since it was planned."""
        created = {str(_provisional(*key)): str(id_) for key, id_ in self.ids.items()}
        return _replaced(payload, created)

    def note(self, item: Declared[Any], what: str, *within: str | int) -> None:
        """Point out something in an accepted declaration that may not be intended."""
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
        """Record a mistake in one declaration and leave that one out, so that the others go on."""
        try:
            yield
        except MistakeError as error:
            self.problems.append(error)
            self.leave_out(kind, name, place, exact=exact)


def _provisional(kind: str, name: str) -> UUID:
    return uuid5(NAMESPACE_OID, f"{kind}\n{name}")


def _replaced(node: Any, texts: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _replaced(value, texts) for key, value in node.items()}
    if isinstance(node, list):
        return [_replaced(value, texts) for value in node]
    return texts.get(node, node) if isinstance(node, str) else node
