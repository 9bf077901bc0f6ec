"""What became of every run that was accepted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from tests.stack import TERMINAL, post

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import httpx

    from tests.faults.ledger import Ledger

PAGE = 200  # the most runs that the API gives at once
MESSAGE_LENGTH = 160


class Account(BaseModel):
    """Counts of the runs of one trial, and how long it took until the last had ended."""

    accepted: int
    unanswered: int  # asked for and never answered: it may be a run or not
    completed: int
    executed_once: int
    executed_twice: int
    completed_without_end: int  # Completed, and the ledger has no end of it
    failed_though_done: int  # Failed or Crashed, and the ledger has its end
    failed: int  # Failed, and its work is not done
    killed: int  # Crashed, and its process is one that the fault itself has ended
    crashed_at_work: int  # Crashed between its beginning and its end, by nobody's hand
    crashed_unbegun: int  # Crashed, and it never was Running
    cancelled: int
    stuck: int  # not ended when the bound was over
    stuck_states: dict[str, int]
    places_taken: dict[str, int]  # a minute after the last end, by limit
    recovery_seconds: float | None  # from the end of the fault to the last end; None: never
    places_seconds: float | None  # from the end of the fault until all places were free
    messages: dict[str, int]  # of all that are not Completed

    def lost(self) -> dict[str, int]:
        """What no fault excuses."""
        names = (
            *("executed_twice", "completed_without_end", "failed_though_done"),
            *("failed", "crashed_at_work", "crashed_unbegun", "cancelled", "stuck"),
        )
        found = {name: getattr(self, name) for name in names}
        return {name: count for name, count in found.items() if count}


def states(client: httpx.Client, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The runs by id; one that the server does not know is missing."""
    wanted = list(ids)
    found: dict[str, dict[str, Any]] = {}
    for first in range(0, len(wanted), PAGE):
        body = {"flow_runs": {"id": {"any_": wanted[first : first + PAGE]}}, "limit": PAGE}
        found |= {each["id"]: each for each in post(client, "/flow_runs/filter", body)}
    return found


def open_runs(runs: Mapping[str, dict[str, Any]], ids: Iterable[str]) -> list[str]:
    """The ids of those that have not ended."""
    return [each for each in ids if runs.get(each, {}).get("state_type") not in TERMINAL]


def places(client: httpx.Client) -> dict[str, int]:
    """What is taken of each limit: of the pool by all of its runs, of the others by their slots."""
    body = {
        "flows": {"name": {"any_": ["accounted"]}},
        "flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}},
    }
    taken = {"pool": int(post(client, "/flow_runs/count", body))}
    for each in post(client, "/v2/concurrency_limits/filter", {}):
        name = "deployment" if each["name"].startswith("deployment:") else each["name"]
        taken[name] = taken.get(name, 0) + int(each["active_slots"])
    return {name: count for name, count in taken.items() if count}


def make(  # noqa: PLR0913 - all that is known
    accepted: Mapping[str, str],
    unanswered: Iterable[str],
    runs: Mapping[str, dict[str, Any]],
    ledger: Ledger,
    *,
    ended: Collection[int],
    taken: dict[str, int],
    recovery_seconds: float | None,
    places_seconds: float | None,
) -> Account:
    """Count.

    Args:
        accepted: The ids of the runs by key.
        unanswered: The keys of what was asked for and never answered.
        runs: What the server says of them by id.
        ledger: What they say themselves.
        ended: The processes of runs that the fault itself has ended.
        taken: The places that are still taken.
        recovery_seconds: From the end of the fault to the last end.
        places_seconds: From the end of the fault until all places were free.
    """
    counts: Counter[str] = Counter()
    messages: Counter[str] = Counter()
    stuck: Counter[str] = Counter()
    for key, run_id in accepted.items():
        run = runs.get(run_id, {"state_type": "UNKNOWN", "state": {"name": "unknown"}})
        state, done = run["state_type"], ledger.ends[key] > 0
        # Running counts as begun: what was told so may not be run again, whether or not its code
        # came to its first line.
        begun = ledger.starts[key] > 0 or run.get("start_time") is not None
        pid = ledger.pids.get(key) or int(run.get("infrastructure_pid") or 0)
        killed = begun and pid in ended
        counts[_kind(state, done=done, begun=begun, killed=killed)] += 1
        if state not in TERMINAL:
            stuck[run["state"]["name"] + (", work done" if done else "")] += 1
        if state != "COMPLETED":
            said = f"{run['state']['name']}: {run['state'].get('message')}"
            messages[said[:MESSAGE_LENGTH]] += 1
    return Account(
        accepted=len(accepted),
        unanswered=len(set(unanswered)),
        completed=counts["completed"] + counts["completed_without_end"],
        executed_once=sum(ledger.ends[key] == 1 == ledger.starts[key] for key in accepted),
        executed_twice=sum(ledger.starts[key] > 1 for key in accepted),
        completed_without_end=counts["completed_without_end"],
        failed_though_done=counts["failed_though_done"],
        failed=counts["failed"],
        killed=counts["killed"],
        crashed_at_work=counts["crashed_at_work"],
        crashed_unbegun=counts["crashed_unbegun"],
        cancelled=counts["cancelled"],
        stuck=counts["stuck"],
        stuck_states=dict(stuck),
        places_taken=taken,
        recovery_seconds=recovery_seconds,
        places_seconds=places_seconds,
        messages=dict(messages.most_common()),
    )


def _kind(state: str, *, done: bool, begun: bool, killed: bool) -> str:
    match state:
        case "COMPLETED":
            return "completed" if done else "completed_without_end"
        case "CRASHED" if killed:
            return "killed"
        case "FAILED" | "CRASHED" if done:
            return "failed_though_done"
        case "CRASHED":
            return "crashed_at_work" if begun else "crashed_unbegun"
        case "FAILED" | "CANCELLED":
            return state.lower()
    return "stuck"
