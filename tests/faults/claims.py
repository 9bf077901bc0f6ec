"""What has to be true at the end of every trial, whatever the fault was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.stack import complete

if TYPE_CHECKING:
    from tests.faults.ground import Ground
    from tests.faults.trial import Trial


def ends_well(ground: Ground, result: Trial) -> None:
    """Every accepted run has ended truthfully, no place is lost, and the stack works and says so.

    Only runs whose processes the fault itself has ended may be Crashed.
    """
    account = result.account
    said = f"{account.messages or ''} {account.stuck_states or ''}".strip()
    assert account.accepted, "no run was accepted"
    assert not account.lost(), f"{account.lost()}; {said}"
    assert account.completed + account.killed == account.accepted
    assert not account.places_taken, f"places that nobody holds: {account.places_taken}"
    well = result.well_seconds is not None
    assert well, f"status does not say that all is well: {result.problems}"
    works(ground)


def works(ground: Ground) -> None:
    """A run that is asked for now is Completed, without anybody's help."""
    with ground.stack.client() as client:
        complete(client, "hello/hello")
