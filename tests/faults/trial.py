"""One trial: runs are created, a fault happens, and everything is counted."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from tests.faults import account, ledger
from tests.faults.load import Load
from tests.faults.watch import Watch
from tests.stack import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tests.faults.account import Account
    from tests.faults.ground import Ground
    from tests.faults.watch import Said

Answer = TypeVar("Answer")
LOOK_SECONDS = 1.0
PLACES_SECONDS = 60.0  # promise 3: until all places are free
WELL_SECONDS = 60.0
BEGUN_BEFORE_FAULT = 3  # runs


@dataclass(frozen=True)
class Trial:
    """The outcome of a trial."""

    account: Account
    ended: frozenset[int]  # pids of the runs that the fault itself has ended
    fault_seconds: float
    ill_said: int  # how often `status` called the stack ill while the fault lasted
    asked: int  # how often it was asked meanwhile
    well_seconds: float | None  # from the end of the fault until `status` said well for good
    problems: list[str]  # all problems that `status` has named

    def measured(self) -> dict[str, int | float | str]:
        """Return what the page of reliability shows; of what should be 0, only what is not."""
        account = self.account
        values: dict[str, Any] = {
            "accepted": account.accepted,
            "Completed": account.completed,
            "executed once": account.executed_once,
            "killed": len(self.ended) or None,
            "of these Crashed": account.killed or None,
            **{name.replace("_", " "): count for name, count in account.lost().items()},
            **{f"places of {name} taken": count for name, count in account.places_taken.items()},
            "unanswered": account.unanswered or None,
            "fault, s": round(self.fault_seconds, 1),
            "last end after it, s": _rounded(account.recovery_seconds),
            "places free after it, s": _rounded(account.places_seconds),
            "status well after it, s": _rounded(self.well_seconds),
            "status said ill": f"{self.ill_said} of {self.asked}" if self.asked else None,
            "status denied what is stuck": "yes" if account.stuck and self.well_seconds else None,
        }
        return {name: value for name, value in values.items() if value is not None}


def run(
    ground: Ground,
    fault: Callable[[], Collection[int]],
    *,
    runs: int = 40,
    spread_seconds: float = 20,
    bound_seconds: float = 120,
) -> Trial:
    """Let `fault` happen while runs go on; count when all have ended, or `bound_seconds` after it.

    Args:
        ground: A stack that is ready.
        fault: Returns when the fault is over, with the pids of the runs that it has ended.
        runs: How many runs are created, the first third of them at once.
        spread_seconds: Over how long the others are created.
        bound_seconds: How long after the fault the last run may end.
    """
    load = Load(ground.stack, ground.written or ground.ledger, runs, spread_seconds)
    before = sum(ledger.read(ground.ledger).starts.values())
    looking = Watch(ground.stack)
    load.start()
    wait_for(
        "beginning of some runs",
        lambda: sum(ledger.read(ground.ledger).starts.values()) >= before + BEGUN_BEFORE_FAULT,
    )
    looking.start()
    began = time.monotonic()
    try:
        ended = frozenset(fault())
        over = time.monotonic()
        counted = _count(ground, load, over, bound_seconds, ended)
        well = _steadily_well(looking, over)
    finally:
        looking.end()
        load.give_up()
    during = [answer for answer in looking.said if began <= answer.at <= over]
    return Trial(
        account=counted,
        ended=ended,
        fault_seconds=over - began,
        ill_said=sum(not answer.well for answer in during),
        asked=len(during),
        well_seconds=well,
        problems=sorted(
            {problem for answer in looking.said for problem in answer.problems if problem}
        ),
    )


def _count(
    ground: Ground, load: Load, over: float, bound_seconds: float, ended: Collection[int]
) -> Account:
    """Wait until every accepted run has ended and every place is free, then count."""
    recovery: float | None = None
    free: float | None = None
    runs: dict[str, dict[str, Any]] = {}
    taken: dict[str, int] = {}
    with ground.stack.client() as client:
        while (now := time.monotonic() - over) < bound_seconds:
            if not load.is_alive():
                states = _asked(lambda: account.states(client, load.accepted.values()))
                runs = states or runs
                if states and not account.open_runs(states, load.accepted.values()):
                    recovery = now
                    break
            time.sleep(LOOK_SECONDS)
        load.give_up()
        # A run that is stuck holds its place, so one look is enough then.
        deadline = time.monotonic() + (PLACES_SECONDS if recovery is not None else LOOK_SECONDS)
        while free is None and time.monotonic() < deadline:
            answer = _asked(lambda: account.places(client))
            taken = taken if answer is None else answer
            free = time.monotonic() - over if answer == {} else None
            time.sleep(0 if answer == {} else LOOK_SECONDS)
        runs = _asked(lambda: account.states(client, load.accepted.values())) or runs
    return account.make(
        load.accepted,
        load.unanswered,
        runs,
        ledger.read(ground.ledger),
        ended=ended,
        taken=taken,
        recovery_seconds=recovery,
        places_seconds=free,
    )


def _asked(question: Callable[[], Answer]) -> Answer | None:
    """Return the answer, or None if the API is still away."""
    try:
        return question()
    except httpx.HTTPError:
        return None


def _steadily_well(looking: Watch, over: float) -> float | None:
    """Return the seconds from the end of the fault until `status` said well and went on saying it.

    None if it never did.
    """
    deadline = time.monotonic() + WELL_SECONDS
    while not _steady(looking.said) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    if not _steady(looking.said):
        return None
    first = looking.said[-1]
    for answer in reversed(looking.said):
        if not answer.well:
            break
        first = answer
    return max(0.0, first.at - over)


def _steady(said: list[Said]) -> bool:
    return len(said) > 1 and said[-1].well and said[-2].well


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
