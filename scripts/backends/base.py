"""The protocol that both backends implement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from scripts.status import Outcome, StackStatus

# `up` runs this service again when the stack is already running, and prints its last line.
BOOTSTRAP = "bootstrap"


class Backend(Protocol):
    """One stack on one backend."""

    @property
    def name(self) -> str:
        """What `scripts/stack up` and `status` call it."""
        ...

    @property
    def alive(self) -> bool:
        """Whether the stack is running, or is kept running."""
        ...

    @property
    def exists(self) -> bool:
        """Whether this backend keeps anything of the stack, running or not."""
        ...

    def up(self) -> Outcome:
        """Start the stack and wait until it is healthy, whether it was running already or not.

        Raises:
            MistakeError: a check failed before the start, or a service ended with 2.
            StackError: a service did not start or did not become healthy.
        """
        ...

    def down(self, *, volumes: bool) -> bool:
        """Stop the stack, and with `volumes` delete its data; False if there was nothing to do."""
        ...

    def status(self) -> StackStatus:
        """How each service is doing."""
        ...

    def logs(self, service: str | None, *, follow: bool) -> None:
        """Print the logs of all services, or of one.

        Raises:
            MistakeError: there is no such log.
        """
        ...

    def client_environment(self) -> dict[str, str]:
        """The environment for a client of the API on this machine.

        Raises:
            MistakeError: the login cannot be read.
        """
        ...

    def bootstrap_environment(self) -> dict[str, str]:
        """The environment for `python -m server.bootstrap` on this machine."""
        ...
