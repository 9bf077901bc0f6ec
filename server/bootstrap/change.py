"""One difference between what is declared and what is live."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from server.bootstrap.kind import Declared

Action = Literal[
    "create",
    "update",
    "unchanged",
    "left out",  # declared, but what it requires is not set, or what it names is wrong
    "wrong",  # declared wrongly, and left as it is
    "remove",
    "no longer declared",  # made by bootstrap, and left until it is told to prune
    "not ours",  # made by somebody else
]
# The actions by which live differs from declared.
DRIFT: tuple[Action, ...] = ("create", "update", "remove", "no longer declared")
WRITES: tuple[Action, ...] = ("create", "update", "remove")


@dataclass(frozen=True)
class Change:
    """What would be done to one resource; `apply` does it, and gives the id of what it made."""

    action: Action
    kind: str
    name: str
    details: tuple[str, ...] = ()  # the fields that differ, or why it was left out
    id: UUID | None = None  # of what is live
    item: Declared[Any] | None = field(default=None, repr=False, compare=False)
    apply: Callable[[], UUID | None] = field(default=lambda: None, repr=False, compare=False)
