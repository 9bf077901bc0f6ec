"""What every backend does with a stack, whatever it runs it with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from scripts.status import Outcome, StackStatus

# The service that `up` runs anew in a stack that is up, and of which it prints the last line.
BOOTSTRAP = "bootstrap"


class Backend(Protocol):
    """One stack on one backend."""

    @property
    def name(self) -> str:
        """What `scripts/stack up` and `status` call it."""
        ...

    @property
    def alive(self) -> bool:
        """Whether something of the stack runs, or something that would start it again."""
        ...

    @property
    def exists(self) -> bool:
        """Whether there is anything of the stack here, running or not."""
        ...

    def up(self) -> Outcome:
        """Start the stack and wait until it is healthy, whether it was running already or not.

        Raises:
            MistakeError: a check failed before the start, or a service ended with 2.
            StackError: a service did not start or did not become healthy.
        """
        ...

    def down(self, *, volumes: bool) -> bool:
        """Stop it, and with `volumes` remove all that it kept; False if there was nothing to do."""
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
        """What a client of the API on this machine needs.

        Raises:
            MistakeError: the login cannot be read.
        """
        ...

    def bootstrap_environment(self) -> dict[str, str]:
        """What `server.bootstrap` needs, started by hand on this machine."""
        ...
