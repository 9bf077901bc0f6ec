"""A planned change of one resource."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from server.bootstrap.resource import Declared

Action = Literal[
    "create",
    "update",
    "unchanged",
    "left out",  # not applied: a required value is not set, or a resource it refers to is wrong
    "wrong",  # the declaration is wrong, so the resource is left as it is
    "remove",
    "no longer declared",  # created by bootstrap, and kept unless --prune is given
    "not ours",  # created by somebody else
]
# The actions of resources that differ from their declarations.
DRIFT: tuple[Action, ...] = ("create", "update", "remove", "no longer declared")
WRITES: tuple[Action, ...] = ("create", "update", "remove")


@dataclass(frozen=True)
class Change:
    """A planned change of one resource; `apply` makes it and returns the id of a new resource."""

    action: Action
    kind: str
    name: str
    details: tuple[str, ...] = ()  # the fields that differ, or the reason for the action
    id: UUID | None = None  # of the resource on the server, if there is one
    item: Declared[Any] | None = field(default=None, repr=False, compare=False)
    apply: Callable[[], UUID | None] = field(default=lambda: None, repr=False, compare=False)
