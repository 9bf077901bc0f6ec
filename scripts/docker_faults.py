"""What is wrong with a stack in Docker that did not come up whole, from its containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts import docker_containers as containers
from server.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from python_on_whales import Container
    from python_on_whales.exceptions import DockerException

    Containers = Mapping[str, Container]  # by the names of their services


def incomplete(found: Containers, order: list[str], began: datetime) -> StackError | None:
    """Why bootstrap failed, if all that comes before it is well."""
    for name in order[: order.index("bootstrap")]:
        if name not in found or not containers.service_status(name, found[name]).healthy:
            return None
    container = found.get("bootstrap")
    if container is None or container.state.status != "exited" or not container.state.exit_code:
        return None
    return containers.failure("bootstrap", container, began)


def failed(
    found: Containers, order: list[str], error: DockerException, began: datetime
) -> StackError:
    """Why `docker compose up` failed, in the words of the first service that did."""
    for name in (name for name in order if name in found):
        container = found[name]
        status = containers.service_status(name, container)
        if status.status == "failed":
            return containers.failure(name, container, began)
        if container.state.running and not status.healthy:
            return StackError(
                f"{name} failed",
                expected="a healthy process",
                found=status.detail,
                do=f"scripts/stack logs {name}",
                details=containers.tail(container, began),
            )
    return StackError(
        "docker compose up failed",
        expected="it to end with 0",
        found=str(error.return_code),
        do="correct what its last lines say, then: scripts/stack up",
        details=error.stderr or str(error),
    )
