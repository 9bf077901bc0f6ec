"""The kinds of resources; each module in this folder defines one subclass of `Kind`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING, Any

from server.bootstrap.kind import Kind

if TYPE_CHECKING:
    from server.bootstrap.api import Client
    from server.bootstrap.world import World


def every(world: World, client: Client) -> list[Kind[Any]]:
    """All kinds, in the order in which their resources are created."""
    kinds: list[Kind[Any]] = []
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        members = vars(importlib.import_module(module.name)).values()
        kinds += [
            member(world, client)
            for member in members
            if inspect.isclass(member)
            and issubclass(member, Kind)
            and member.__module__ == module.name
        ]
    return sorted(kinds, key=lambda kind: kind.order)
