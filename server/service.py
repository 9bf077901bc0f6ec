"""What a backend has to know of a service to run it; `server/services/` has a module for each.

Docker reads the same facts from `compose.yaml`, which a person edits:
tests/unit/test_compose.py holds the file to the modules.
"""

from __future__ import annotations

import importlib
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from server.place import Place
    from server.settings import Settings

# The image that a service runs in. Without Docker, the user and the folders that go with it:
# `server` has the secrets of the server side, `worker` has the flows.
Image = Literal["postgres", "server", "worker"]
# The folders of secrets, each a volume of its own in Docker: see `server.secrets`. `bootstrap` has
# the values of `.env` that the declarations refer to: see `server.settings.declared_values`.
SecretFolder = Literal["database", "encryption", "api", "bootstrap"]
Network = Literal["default", "database"]
# What a service waits for in another: its health, its success, or merely its end.
Condition = Literal["healthy", "done", "ended"]


@dataclass(frozen=True)
class Health:
    """How a backend finds out whether a service makes progress."""

    command: tuple[str, ...]  # in its container; ends with 0 when the service is well
    # Without Docker: None when it is well, else what is wrong. The last argument is when the
    # process started, in seconds of the epoch.
    check: Callable[[Settings, Place, float], str | None]


def health_of(module: str) -> Health:
    """The health that `module` tells, by its `check_service` or when it is run as a command.

    The module is imported at the first check: the image of the server has no module of the worker.
    """

    def check(settings: Settings, place: Place, started: float) -> str | None:
        found = importlib.import_module(module)
        problem: str | None = found.check_service(settings, place, started)
        return problem

    return Health(("python", "-m", module), check)


def _no_environment(_settings: Settings, _place: Place) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Service:
    """One service of a stack: a process that should always be there, or one that runs once."""

    name: str
    image: Image
    command: Callable[[Settings, Place], list[str]]  # the program and its arguments
    # Secrets included, to be laid over PATH and the like.
    environment: Callable[[Settings, Place], dict[str, str]] = _no_environment
    secrets: frozenset[SecretFolder] = frozenset()
    networks: frozenset[Network] = frozenset()
    waits_for: Mapping[str, Condition] = field(default_factory=dict)
    health: Health | None = None  # None: it runs once, and is judged by its exit code
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: int = 30  # from the stop signal to SIGKILL
    # Only a stack with a server of its own has it; one that uses a remote server has not.
    local_server_only: bool = False
    # The stack cannot be up while it fails.
    required: bool = True
    # It starts before there are secrets to read: in a container by its own command instead of
    # `server.entrypoint`, and without Docker as a part of `scripts/stack up`.
    before_secrets: bool = False
    # It is the first to call a remote server, and tells whether that one lets the stack in.
    checks_remote_server: bool = False

    @property
    def runs_once(self) -> bool:
        """Whether it has to end with 0 before what waits for it may start."""
        return self.health is None

    @property
    def has_entrypoint(self) -> bool:
        """Whether its container starts `server.entrypoint` with its name."""
        return self.image != "postgres" and not self.before_secrets

    @property
    def reads_declarations(self) -> bool:
        """Whether it is given the values of `.env` that the declarations refer to."""
        return "bootstrap" in self.secrets
