"""No fault at all, to compare the figures of the faults with."""

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

    result = trial.run(ground, nothing, runs=40, spread_seconds=SECONDS)
    measured |= result.measured()
    ends_well(ground, result)
    assert not result.ill_said, result.problems
