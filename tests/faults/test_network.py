"""The connection between a worker and its server is cut, or slow and lossy."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from benchmarks.relay import relaying
from tests import stack as stacks
from tests.embedded.two_workers import worker
from tests.faults import ledger, trial
from tests.faults.claims import ends_well
from tests.faults.ground import Ground, declare
from tests.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from benchmarks.relay import Relay
    from tests.faults.conftest import Measured

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
FAR = "far"  # a pool whose worker and runs reach the server through the relay only
CUT_SECONDS = 120
BAD_SECONDS = 60


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ground, Relay]]:
    """A running stack with a worker far from it, and the relay between the two."""
    root = stacks.clone(tmp_path_factory.mktemp(FAR))
    stack = declare(Stack(root, f"test-far-{os.getpid()}", stacks.free_port(), "embedded"), FAR)
    with ledger.kept() as path, stacks.stack(stack):
        stack.up()
        with (
            relaying(stack.port) as between,
            worker(stack, FAR, FAR, PREFECT_API_URL=f"{between.address}/api"),
        ):
            yield Ground(stack, path), between


@pytest.mark.fault(
    "the worker and its runs are cut off from the server for 2 minutes",
    promises=[1, 2, 3],
    bound="all Completed 120 s after",
)
def test_no_run_is_lost_when_the_worker_is_cut_off(
    far: tuple[Ground, Relay], measured: Measured
) -> None:
    ground, between = far

    def cut() -> Collection[int]:
        between.suspended = True
        time.sleep(CUT_SECONDS)
        between.suspended = False
        return ()

    result = trial.run(ground, cut, runs=40, spread_seconds=60)
    measured |= result.measured()
    ends_well(ground, result)


@pytest.mark.fault(
    "500 ms and 20 % loss between worker and server, for a minute",
    promises=[1, 2],
    bound="all Completed 120 s after",
)
def test_no_run_is_lost_on_a_bad_line(far: tuple[Ground, Relay], measured: Measured) -> None:
    ground, between = far

    def bad() -> Collection[int]:
        between.delay_seconds, between.loss = 0.25, 0.2  # each way
        time.sleep(BAD_SECONDS)
        between.delay_seconds, between.loss = 0.0, 0.0
        return ()

    result = trial.run(ground, bad, runs=40, spread_seconds=40)
    measured |= result.measured()
    ends_well(ground, result)
