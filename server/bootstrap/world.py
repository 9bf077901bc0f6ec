"""The state that all kinds share: declarations, resources on the server, and mistakes.

Mistakes are collected, so that one wrong declaration does not keep the others from being applied.
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
    """A wrong declaration; its resource stays as it is on the server."""

    kind: str
    name: str | None  # None if no name could be read
    exact: bool  # False if only the part of the name after the last slash is known for certain
    place: str  # file and line

    def may_be(self, kind: str, name: str) -> bool:
        """Whether this may be the declaration of the given resource."""
        if kind != self.kind:
            return False
        if self.name is None:
            return True
        if self.exact:
            return self.name == name
        return self.name.rsplit("/", 1)[-1] == name.rsplit("/", 1)[-1]


class DeclarationError(MistakeError):
    """Some declarations are wrong; the others were applied, unless only a plan was requested."""

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
    """The state of one bootstrap: what is declared, what exists, and what is wrong."""

    root: Path  # the folder of the declarations
    common: dict[str, str] = field(default_factory=dict)  # variables that every run gets
    declared: set[tuple[str, str]] = field(default_factory=set)  # kind and name
    ids: dict[tuple[str, str], UUID] = field(default_factory=dict)  # on the server; kind and name
    templates: dict[str, dict[str, Any]] = field(default_factory=dict)  # job templates, by pool
    wrong: list[Wrong] = field(default_factory=list)
    problems: list[MistakeError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # on what is valid but may not be intended

    def knows(self, kind: str, name: str) -> bool:
        """Whether the resource will exist once all declarations are applied."""
        return (kind, name) in self.declared or (kind, name) in self.ids

    def id_of(self, kind: str, name: str) -> str:
        """The id of a resource for a payload; a provisional one until the resource is created."""
        return str(self.ids.get((kind, name)) or _provisional(kind, name))

    def with_ids(self, payload: Any) -> Any:
        """`payload` with the real ids of resources that were created since it was planned."""
        created = {str(_provisional(*key)): str(id_) for key, id_ in self.ids.items()}
        return _replace_strings(payload, created)

    def note(self, item: Declared[Any], what: str, *within: str | int) -> None:
        """Add a note about something in a valid declaration that may not be intended."""
        line = item.file.line((*item.where, *within))
        self.notes.append(f"{item.file.name} line {line}: {what}")

    def wrong_declaration(self, kind: str, name: str) -> Wrong | None:
        """The wrong declaration that may be the one of this resource; None if there is none."""
        if (kind, name) in self.declared:
            return None
        return next((wrong for wrong in self.wrong if wrong.may_be(kind, name)), None)

    def leave_out(self, kind: str, name: str | None, place: str, *, exact: bool = True) -> None:
        """Record a declaration as wrong: it is left out with all declarations that refer to it."""
        if name is not None:
            self.declared.discard((kind, name))
        self.wrong.append(Wrong(kind, name, exact, place))

    @contextmanager
    def skip_on_mistake(
        self, kind: str, name: str | None, place: str, *, exact: bool = True
    ) -> Iterator[None]:
        """Catch a mistake in one declaration: record it and leave only that declaration out."""
        try:
            yield
        except MistakeError as error:
            self.problems.append(error)
            self.leave_out(kind, name, place, exact=exact)


def _provisional(kind: str, name: str) -> UUID:
    return uuid5(NAMESPACE_OID, f"{kind}\n{name}")


def _replace_strings(node: Any, replacements: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _replace_strings(value, replacements) for key, value in node.items()}
    if isinstance(node, list):
        return [_replace_strings(value, replacements) for value in node]
    return replacements.get(node, node) if isinstance(node, str) else node
