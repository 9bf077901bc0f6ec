"""No fault at all: what the figures of the others are to be read beside."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.faults import trial
from tests.faults.claims import ends_well

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.faults.conftest import Measured
    from tests.faults.ground import Ground

SECONDS = 10


@pytest.mark.slow
@pytest.mark.fault(
    "none, for comparison", promises=[1], bound="all Completed 120 s after 10 s without a fault"
)
def test_without_a_fault_all_is_done_and_status_says_well(
    ground: Ground, measured: Measured
) -> None:
    def nothing() -> Collection[int]:
        time.sleep(SECONDS)
        return ()

    found = trial.run(ground, nothing, runs=40, spread_seconds=SECONDS)
    measured |= found.measured()
    ends_well(ground, found)
    assert not found.ill_said, found.problems
