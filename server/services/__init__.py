"""The services of a stack: each module of this folder describes one, as its `SERVICE`."""

from __future__ import annotations

import importlib
import pkgutil
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.service import Service
    from server.settings import Settings


def every() -> list[Service]:
    """All services, in the order of their start: each after those that it waits for."""
    modules = pkgutil.iter_modules(__path__, f"{__name__}.")
    found: list[Service] = [importlib.import_module(each.name).SERVICE for each in modules]
    by_name = {service.name: service for service in found}
    graph = {service.name: service.waits_for.keys() for service in found}
    return [by_name[name] for name in TopologicalSorter(graph).static_order()]


def chosen(settings: Settings) -> list[Service]:
    """The services of the stack that `settings` describe, in the order of their start."""
    return [each for each in every() if not (settings.remote and each.local_server_only)]


def named(name: str) -> Service:
    """The service of that name.

    Raises:
        KeyError: there is none.
    """
    return {service.name: service for service in every()}[name]
