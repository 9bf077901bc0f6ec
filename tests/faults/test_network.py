"""The line between a worker and its server is cut, or slow and lossy."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from tests import stack as stacks
from tests.embedded.two_workers import worker
from tests.faults import ledger, line, trial
from tests.faults.claims import ends_well
from tests.faults.ground import Ground, declare
from tests.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.faults.conftest import Measured
    from tests.faults.line import Line

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
FAR = "far"  # a pool whose worker, and the runs of it, speak with the server over the line
CUT_SECONDS = 120
BAD_SECONDS = 60


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ground, Line]]:
    """A running stack with a worker that is far from it, and the line between them."""
    root = stacks.clone(tmp_path_factory.mktemp(FAR))
    made = declare(Stack(root, f"test-far-{os.getpid()}", stacks.free_port(), "embedded"), FAR)
    with ledger.kept() as path, stacks.stack(made):
        made.up()
        with line.laid(made.port) as laid, worker(made, FAR, FAR, PREFECT_API_URL=laid.address):
            yield Ground(made, path), laid


@pytest.mark.fault(
    "the worker and its runs are cut off from the server for 2 minutes",
    promises=[1, 2, 3],
    bound="all Completed 120 s after",
)
def test_no_run_is_lost_when_the_worker_is_cut_off(
    far: tuple[Ground, Line], measured: Measured
) -> None:
    ground, between = far

    def cut() -> Collection[int]:
        between.cut = True
        time.sleep(CUT_SECONDS)
        between.cut = False
        return ()

    found = trial.run(ground, cut, runs=40, spread_seconds=60)
    measured |= found.measured()
    ends_well(ground, found)


@pytest.mark.fault(
    "500 ms and 20 % loss between worker and server, for a minute",
    promises=[1, 2],
    bound="all Completed 120 s after",
)
def test_no_run_is_lost_on_a_bad_line(far: tuple[Ground, Line], measured: Measured) -> None:
    ground, between = far

    def bad() -> Collection[int]:
        between.delay_seconds, between.loss = 0.25, 0.2  # each way
        time.sleep(BAD_SECONDS)
        between.delay_seconds, between.loss = 0.0, 0.0
        return ()

    found = trial.run(ground, bad, runs=40, spread_seconds=40)
    measured |= found.measured()
    ends_well(ground, found)
