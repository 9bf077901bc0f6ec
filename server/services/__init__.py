"""The services of a stack; each module in this folder describes one of them in its `SERVICE`."""

from __future__ import annotations

import importlib
import pkgutil
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.service import Service
    from server.settings import Settings


def every() -> list[Service]:
    """All services in start order: each comes after the services that it waits for."""
    modules = pkgutil.iter_modules(__path__, f"{__name__}.")
    services: list[Service] = [importlib.import_module(module.name).SERVICE for module in modules]
    by_name = {service.name: service for service in services}
    graph = {service.name: service.waits_for.keys() for service in services}
    return [by_name[name] for name in TopologicalSorter(graph).static_order()]


def chosen(settings: Settings) -> list[Service]:
    """The services that a stack with these settings runs, in start order."""
    return [service for service in every() if not (settings.remote and service.local_server_only)]


def named(name: str) -> Service:
    """The service called `name`.

    Raises:
        KeyError: no service has this name.
    """
    return {service.name: service for service in every()}[name]
