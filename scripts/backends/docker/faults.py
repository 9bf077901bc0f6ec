"""Finds out from its containers why a stack in Docker did not come up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.backends import children
from scripts.backends.docker import containers
from server.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from python_on_whales import Container
    from python_on_whales.exceptions import DockerException

    from server.service import Service

    Containers = Mapping[str, Container]  # by the names of their services


def incomplete(found: Containers, order: list[Service], began: datetime) -> StackError | None:
    """The error of a service that is not required, when all services before it are healthy."""
    for service in order:
        container = found.get(service.name)
        if container is None:
            return None
        state = container.state
        if not service.required and state.status == "exited" and state.exit_code:
            return containers.failure(service.name, container, began)
        if not containers.service_status(service, container).healthy:
            return None
    return None


def failed(
    found: Containers, order: list[Service], error: DockerException, began: datetime
) -> StackError:
    """Why `docker compose up` failed: the error of the first service that failed."""
    for service in (each for each in order if each.name in found):
        name, container = service.name, found[service.name]
        status = containers.service_status(service, container)
        if status.status == "failed":
            return containers.failure(name, container, began)
        if container.state.running and not status.healthy:
            return children.not_healthy(name, status.detail, containers.tail(container, began))
    return StackError(
        "docker compose up failed",
        expected="it to end with 0",
        found=str(error.return_code),
        do="correct what its last lines say, then: scripts/stack up",
        details=error.stderr or str(error),
    )
