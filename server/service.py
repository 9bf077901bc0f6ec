"""The description of a service that a backend needs to run it.

`server/services/` has a module for each service. Docker reads the same facts from `compose.yaml`,
which is edited by hand; tests/unit/test_compose.py checks that the file matches the modules.
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

# The image that a service runs in. Without Docker, it decides the user and the folders of the
# process: `server` has access to the server's secrets, `worker` to the flows.
Image = Literal["postgres", "server", "worker"]
# The folders of secrets, each a separate volume in Docker: see `server.secrets`. `bootstrap` holds
# the values from `.env` that the declarations refer to: see `server.settings.declared_values`.
SecretFolder = Literal["database", "encryption", "api", "bootstrap"]
Network = Literal["default", "database"]
# What a service waits for in another one: that it is healthy, that it has exited with 0, or that it
# has exited with any code.
Condition = Literal["healthy", "done", "ended"]


@dataclass(frozen=True)
class Health:
    """How a backend checks that a service is making progress."""

    command: tuple[str, ...]  # in its container; exits with 0 when the service is healthy
    # Without Docker. Returns None when the service is healthy, otherwise what is wrong. The last
    # argument is the start time of the process, in seconds since the epoch.
    check: Callable[[Settings, Place, float], str | None]


def health_of(module: str) -> Health:
    """The health check that `module` implements, as a command and as its function `check_service`.

    The module is imported only by the first check, because the server's image does not contain the
    modules of the worker.
    """

    def check(settings: Settings, place: Place, started: float) -> str | None:
        implementation = importlib.import_module(module)
        problem: str | None = implementation.check_service(settings, place, started)
        return problem

    return Health(("python", "-m", module), check)


def _no_environment(_settings: Settings, _place: Place) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Service:
    """One service of a stack: a long-running process, or a one-shot that ends by itself."""

    name: str
    image: Image
    command: Callable[[Settings, Place], list[str]]  # the program and its arguments
    # Includes secrets; it is merged over the environment that the process inherits.
    environment: Callable[[Settings, Place], dict[str, str]] = _no_environment
    secrets: frozenset[SecretFolder] = frozenset()
    networks: frozenset[Network] = frozenset()
    waits_for: Mapping[str, Condition] = field(default_factory=dict)
    health: Health | None = None  # None for a one-shot, of which only the exit code counts
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: int = 30  # from the stop signal to SIGKILL
    # The service exists only in a stack that runs its own server, not in one with a remote server.
    local_server_only: bool = False
    # Whether a failure of this service keeps the stack from being up.
    required: bool = True
    # The service starts before any secrets exist. Its container therefore runs its command directly
    # instead of `server.entrypoint`; without Docker it is part of `scripts/stack up`.
    before_secrets: bool = False
    # The service is the first to call a remote server, so it checks that the login is accepted.
    checks_remote_server: bool = False

    @property
    def runs_once(self) -> bool:
        """Whether the service is a one-shot, which ends by itself."""
        return self.health is None

    @property
    def has_entrypoint(self) -> bool:
        """Whether its container starts `server.entrypoint` with the service's name."""
        return self.image != "postgres" and not self.before_secrets

    @property
    def reads_declarations(self) -> bool:
        """Whether the service receives the values from `.env` that the declarations refer to."""
        return "bootstrap" in self.secrets
