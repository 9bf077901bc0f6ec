"""Finds out from the containers of a stack why it did not come up."""

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


def incomplete(stack: Containers, order: list[Service], began: datetime) -> StackError | None:
    """The error of a failed service that is not required, if all services before it are healthy.

    None if another service failed, or none did.
    """
    for service in order:
        container = stack.get(service.name)
        if container is None:
            return None
        state = container.state
        if not service.required and state.status == "exited" and state.exit_code:
            return containers.failure(service.name, container, began)
        if not containers.service_status(service, container).healthy:
            return None
    return None


def failed(
    stack: Containers, order: list[Service], error: DockerException, began: datetime
) -> StackError:
    """Why `docker compose up` failed: the error of the first service, in `order`, that failed."""
    for service in (each for each in order if each.name in stack):
        name, container = service.name, stack[service.name]
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
