"""The protocol that both backends implement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from scripts.status import Outcome, StackStatus

# `up` runs this service even if the stack is already running, and prints the last line of its log.
BOOTSTRAP = "bootstrap"


class Backend(Protocol):
    """One stack on one of the two backends."""

    @property
    def name(self) -> str:
        """The name that `scripts/stack up` and `status` print."""
        ...

    @property
    def alive(self) -> bool:
        """Whether a service of the stack is running, or is kept running."""
        ...

    @property
    def exists(self) -> bool:
        """Whether this backend has anything of the stack: processes, containers or data."""
        ...

    def up(self) -> Outcome:
        """Start the stack and wait until it is healthy, whether it was running already or not.

        Raises:
            MistakeError: a check failed before the start, or a service exited with 2.
            StackError: a service did not start or did not become healthy.
        """
        ...

    def down(self, *, volumes: bool) -> bool:
        """Stop the stack, and with `volumes` delete its data.

        Returns False if there was nothing to stop or to delete.
        """
        ...

    def status(self) -> StackStatus:
        """Return the status of each service.

        Raises:
            MistakeError: the stack is another user's.
        """
        ...

    def logs(self, service: str | None, *, follow: bool) -> None:
        """Print the logs of all services, or of one.

        Raises:
            MistakeError: there is no log of that service, or none of the stack.
        """
        ...

    def client_environment(self) -> dict[str, str]:
        """Return the environment variables for a client of the API on this machine.

        Raises:
            MistakeError: the password of the login cannot be read.
        """
        ...

    def bootstrap_environment(self) -> dict[str, str]:
        """Return the environment variables for `python -m server.bootstrap` on this machine."""
        ...
