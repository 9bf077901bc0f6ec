"""Counts the requests that a run costs the server, with both types of worker."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from benchmarks.relay import Relay, relaying
from tests import stack as stacks
from tests.embedded.runs import gone
from tests.embedded.two_workers import PREFORK, STOCK, TYPES, declared, worker
from tests.stack import Stack, complete, log, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

SOURCE = """\
from prefect import flow, task


@flow(log_prints=True)
def trivial() -> None:
    print("done")


@task
def one() -> int:
    return 1


@flow(log_prints=True)
def with_a_task() -> None:
    one()
    print("done")
"""
WARM_UP, RUNS = 2, 5
# Requests that a worker sends whether there are runs or not.
REGULAR = (
    "POST /api/work_pools/POOL/get_scheduled_flow_runs",
    "POST /api/work_pools/POOL/workers/heartbeat",
)
# For each flow, the most requests that a run of type prefork may cost, and the largest share of
# what a run of the process type costs. A log takes one batch or a few. The resources of a run are
# read for its first event, which a run without tasks of less than two seconds does not have.
MOST = {"trivial": (12, 1 / 2), "with-a-task": (17, 2 / 3)}


@pytest.fixture(scope="module")
def relays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, dict[str, Relay]]]:
    """A stack with a worker of each type, and the relay through which each reaches the API."""
    stack = declared(tmp_path_factory, "requests", SOURCE, ["trivial", "with_a_task"])
    with stacks.stack(stack), ExitStack() as opened:
        stack.up()
        by_kind = {kind: opened.enter_context(relaying(stack.port)) for kind in TYPES}
        for kind, relay in by_kind.items():
            opened.enter_context(
                worker(
                    *(stack, kind, kind),
                    PREFECT_API_URL=f"{relay.address}/api",
                    PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED="false",  # as in `up`
                )
            )
        yield stack, by_kind


def run(client: httpx.Client, name: str) -> None:
    """Run a deployment until its process has ended and its log has arrived."""
    run_id = complete(client, name)["id"]
    gone(client, run_id)

    def is_logged() -> bool:
        lines = [entry["message"] for entry in log(client, run_id)]
        return "done" in lines and any(line.startswith("Finished in") for line in lines)

    wait_for("log", is_logged)


def per_run(client: httpx.Client, flow: str, kind: str, relay: Relay) -> dict[str, float]:
    """Return how often a run sends each request, on average of `RUNS` runs in sequence."""
    for _ in range(WARM_UP):
        run(client, f"{flow}/{kind}")
    before = relay.asked
    for _ in range(RUNS):
        run(client, f"{flow}/{kind}")
    counts: Counter[str] = Counter()
    for request, count in (relay.asked - before).items():
        counts[request.replace(kind, "POOL")] += count
    return {request: count / RUNS for request, count in counts.items()}


def table(counts: dict[str, dict[str, float]]) -> str:
    """Format the counts as text: requests for a run first, then the regular ones."""
    names = sorted({name for by_name in counts.values() for name in by_name})
    names.sort(key=lambda name: name in REGULAR)
    rows = [
        "".join(f"{counts[kind].get(name, 0):9.1f}" for kind in TYPES) + f"  {name}"
        for name in names
    ]
    return "\n".join(["".join(f"{kind:>9}" for kind in TYPES.values()), *rows]) + "\n"


def total(counts: dict[str, float]) -> float:
    """Sum the counts, without the regular requests."""
    return sum(count for name, count in counts.items() if name not in REGULAR)


@pytest.mark.parametrize("flow", MOST)
def test_a_run_of_type_prefork_asks_for_less(
    relays: tuple[Stack, dict[str, Relay]], flow: str
) -> None:
    stack, by_kind = relays
    with stack.client() as client:
        counts = {kind: per_run(client, flow, kind, relay) for kind, relay in by_kind.items()}
    shown = table(counts)
    sys.stdout.write(f"\n{flow}\n{shown}")
    ours, stock = total(counts[PREFORK]), total(counts[STOCK])
    most, share = MOST[flow]
    assert ours <= most, shown
    assert ours < stock * share, shown
