"""Chooses the backend that a command works with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.errors import MistakeError

if TYPE_CHECKING:
    from scripts.backends.base import Backend
    from scripts.backends.docker.backend import Docker
    from scripts.backends.embedded.backend import Embedded
    from server.settings import Settings


def embedded(settings: Settings) -> Embedded:
    from scripts.backends.embedded.backend import Embedded  # noqa: PLC0415 - not every machine has both

    return Embedded(settings)


def docker(settings: Settings) -> Docker:
    """Return the Docker backend, whether an engine answers or not."""
    from scripts.backends.docker.backend import Docker  # noqa: PLC0415 - not every machine has both

    return Docker(settings)


def available(settings: Settings) -> list[Backend]:
    """Return the backends that this machine can use at the moment."""
    in_docker = docker(settings)
    backends: list[Backend] = [embedded(settings)]
    if in_docker.problem() is None:
        backends.append(in_docker)
    return backends


def to_start(settings: Settings, *, wanted: bool | None) -> tuple[Backend, str]:
    """Return the backend to start the stack with, and the reason for the choice.

    Args:
        settings: the settings of the stack.
        wanted: True for Docker, False for embedded. None chooses the backend that already has the
            stack, otherwise Docker if an engine answers, otherwise embedded.

    Raises:
        MistakeError: Docker is wanted and cannot be used, or the stack runs on the other backend.
    """
    in_docker, without = docker(settings), embedded(settings)
    problem = None if wanted is False else in_docker.problem()
    if wanted and problem:
        raise problem
    if wanted is None and without.alive:
        return without, "already running"
    if wanted is None and without.cluster.data.exists() and (problem or not in_docker.exists):
        return without, "its data are in .stack"
    if wanted is False or problem:
        return without, "asked for" if wanted is False else "no Docker engine answers"
    if without.alive:
        raise MistakeError(
            f"{settings.stack_name} already runs without Docker",
            expected="a stack that is down, or one with another STACK_NAME",
            found="a running embedded stack of that name",
            do="scripts/stack down",
        )
    return in_docker, "asked for" if wanted else "a Docker engine answers"


def running(settings: Settings) -> Backend:
    """Return the backend that the stack runs on.

    A stack with a remote server can be used whether its worker runs here or not. If nothing runs,
    the backend that has anything of the stack is returned, otherwise the embedded one.

    Raises:
        MistakeError: the stack has a server of its own, and runs on no backend.
    """
    backends = available(settings)
    for backend in backends:
        if backend.alive:
            return backend
    if settings.remote:
        return next((backend for backend in backends if backend.exists), backends[0])
    raise MistakeError(
        f"{settings.stack_name} is not running",
        expected="a running stack of this name",
        found="none",
        do="scripts/stack up",
    )
