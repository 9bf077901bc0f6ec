"""The mistakes in the declarations, collected: one keeps nothing else from being applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.errors import MistakeError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Wrong:
    """One declaration that is wrong: what it would have been on the server stays as it is there."""

    kind: str
    name: str | None  # None: it has none that could be read
    exact: bool  # whether the name is the one that the server has; else it only ends like it
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
    """Some of what is declared is wrong. The rest was applied, where it was to be."""

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
