"""What every trial has to end with, whatever the fault was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.stack import complete

if TYPE_CHECKING:
    from tests.faults.ground import Ground
    from tests.faults.trial import Trial


def ends_well(ground: Ground, found: Trial) -> None:
    """Every accepted run has ended truthfully, no place is lost, and the stack works and says so.

    Only those runs may be Crashed whose processes the fault itself has ended.
    """
    account = found.account
    said = f"{account.messages or ''} {account.stuck_states or ''}".strip()
    assert account.accepted, "no run was accepted"
    assert not account.lost(), f"{account.lost()}; {said}"
    assert account.completed + account.killed == account.accepted
    assert not account.places_taken, f"places that nobody holds: {account.places_taken}"
    assert found.well_seconds is not None, f"status does not say that all is well: {found.problems}"
    works(ground)


def works(ground: Ground) -> None:
    """A run that is asked for now is Completed: nothing needs a hand."""
    with ground.stack.client() as client:
        complete(client, "hello/hello")
