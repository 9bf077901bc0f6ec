"""How many requests a run costs the server, counted on the wire, with both types of worker."""

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
# What a worker asks whether there are runs or not.
REGULAR = (
    "POST /api/work_pools/POOL/get_scheduled_flow_runs",
    "POST /api/work_pools/POOL/workers/heartbeat",
)
# The most that a run of type prefork may ask for, also as a share of what the other type asks for.
# The log comes in one batch or in a few. What belongs to a run is read for its first event; a run
# without a task that is over within two seconds has none.
MOST = {"trivial": (12, 1 / 2), "with-a-task": (17, 2 / 3)}


@pytest.fixture(scope="module")
def relays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, dict[str, Relay]]]:
    """A stack with a worker of each type, each with a relay of its own before the API."""
    made = declared(tmp_path_factory, "requests", SOURCE, ["trivial", "with_a_task"])
    with stacks.stack(made), ExitStack() as opened:
        made.up()
        found = {kind: opened.enter_context(relaying(made.port)) for kind in TYPES}
        for kind, relay in found.items():
            opened.enter_context(
                worker(
                    *(made, kind, kind),
                    PREFECT_API_URL=f"{relay.address}/api",
                    PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED="false",  # as the stack's own
                )
            )
        yield made, found


def run(client: httpx.Client, name: str) -> None:
    """One run, until its process has ended and its log has come."""
    run_id = complete(client, name)["id"]
    gone(client, run_id)

    def is_logged() -> bool:
        lines = [each["message"] for each in log(client, run_id)]
        return "done" in lines and any(each.startswith("Finished in") for each in lines)

    wait_for("log", is_logged)


def per_run(client: httpx.Client, flow: str, kind: str, relay: Relay) -> dict[str, float]:
    """What was asked for on average by each of some runs, one after the other."""
    for _ in range(WARM_UP):
        run(client, f"{flow}/{kind}")
    before = relay.asked
    for _ in range(RUNS):
        run(client, f"{flow}/{kind}")
    found: Counter[str] = Counter()
    for request, count in (relay.asked - before).items():
        found[request.replace(kind, "POOL")] += count
    return {request: count / RUNS for request, count in found.items()}


def table(found: dict[str, dict[str, float]]) -> str:
    """The figures as text: what is asked for a run, then what is asked anyway."""
    names = sorted({name for each in found.values() for name in each})
    names.sort(key=lambda name: name in REGULAR)
    rows = [
        "".join(f"{found[kind].get(name, 0):9.1f}" for kind in TYPES) + f"  {name}"
        for name in names
    ]
    return "\n".join(["".join(f"{kind:>9}" for kind in TYPES.values()), *rows]) + "\n"


def total(found: dict[str, float]) -> float:
    """All but what is asked anyway."""
    return sum(count for name, count in found.items() if name not in REGULAR)


@pytest.mark.parametrize("flow", MOST)
def test_a_run_of_type_prefork_asks_for_less(
    relays: tuple[Stack, dict[str, Relay]], flow: str
) -> None:
    stack, counted = relays
    with stack.client() as client:
        found = {kind: per_run(client, flow, kind, relay) for kind, relay in counted.items()}
    shown = table(found)
    sys.stdout.write(f"\n{flow}\n{shown}")
    ours, stock = total(found[PREFORK]), total(found[STOCK])
    most, share = MOST[flow]
    assert ours <= most, shown
    assert ours < stock * share, shown
