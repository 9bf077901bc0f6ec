"""Counts what became of every run that was accepted."""

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
    """Counts of the runs of one trial, and how long the last of them took to end."""

    accepted: int
    unanswered: int  # asked for and never answered: it may have become a run or not
    completed: int
    executed_once: int
    executed_twice: int
    completed_without_end: int  # Completed, but the ledger has no end of it
    failed_though_done: int  # Failed or Crashed, but the ledger has its end
    failed: int  # Failed before its work was done
    killed: int  # Crashed, and the fault itself ended its process
    crashed_at_work: int  # Crashed between its beginning and its end, though the fault spared it
    crashed_unbegun: int  # Crashed without ever having been Running
    cancelled: int
    stuck: int  # not ended when the time allowed was over
    stuck_states: dict[str, int]
    places_taken: dict[str, int]  # by limit, a minute after the last end
    recovery_seconds: float | None  # from the end of the fault to the last end; None: never
    places_seconds: float | None  # from the end of the fault until all places were free
    messages: dict[str, int]  # of all runs that are not Completed

    def lost(self) -> dict[str, int]:
        """Return the counts, other than 0, of what no fault excuses."""
        names = (
            *("executed_twice", "completed_without_end", "failed_though_done"),
            *("failed", "crashed_at_work", "crashed_unbegun", "cancelled", "stuck"),
        )
        counts = {name: getattr(self, name) for name in names}
        return {name: count for name, count in counts.items() if count}


def states(client: httpx.Client, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the runs by id, without those that the server does not know."""
    wanted = list(ids)
    runs: dict[str, dict[str, Any]] = {}
    for first in range(0, len(wanted), PAGE):
        body = {"flow_runs": {"id": {"any_": wanted[first : first + PAGE]}}, "limit": PAGE}
        runs |= {run["id"]: run for run in post(client, "/flow_runs/filter", body)}
    return runs


def open_runs(runs: Mapping[str, dict[str, Any]], ids: Iterable[str]) -> list[str]:
    """Return the ids of the runs that have not ended."""
    return [run_id for run_id in ids if runs.get(run_id, {}).get("state_type") not in TERMINAL]


def places(client: httpx.Client) -> dict[str, int]:
    """Return how many places of each limit are taken: runs of the pool, slots of the others."""
    body = {
        "flows": {"name": {"any_": ["accounted"]}},
        "flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}},
    }
    taken = {"pool": int(post(client, "/flow_runs/count", body))}
    for limit in post(client, "/v2/concurrency_limits/filter", {}):
        name = "deployment" if limit["name"].startswith("deployment:") else limit["name"]
        taken[name] = taken.get(name, 0) + int(limit["active_slots"])
    return {name: count for name, count in taken.items() if count}


def make(  # noqa: PLR0913 - an account is made of all of these
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
    """Count what became of the runs of a trial.

    Args:
        accepted: The ids of the runs by key.
        unanswered: The keys of what was asked for and never answered.
        runs: What the server says about the runs, by id.
        ledger: What the runs have written themselves.
        ended: The pids of the runs that the fault itself has ended.
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
        # Running counts as begun, whether or not the code came to its first line: a run that was
        # Running may not be started again.
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
