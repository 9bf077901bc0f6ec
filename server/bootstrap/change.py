"""One difference between what is declared and what is live, and how to make it go away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Action = Literal["create", "update", "unchanged", "left out"]


def nothing() -> None:
    """Apply a change that is none."""


@dataclass(frozen=True)
class Change:
    """What would be done to one resource. `apply` does it; it writes nothing when unchanged."""

    action: Action
    kind: str
    name: str
    details: tuple[str, ...] = ()  # the fields that differ, or why it was left out
    apply: Callable[[], None] = field(default=nothing, repr=False, compare=False)

    def __str__(self) -> str:
        details = f" ({', '.join(self.details)})" if self.details else ""
        return f"{self.action:<10} {self.kind} {self.name}{details}"
