"""The clock of the stack jumps an hour ahead, and back."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import stack as stacks
from tests.faults import disk, ledger, trial
from tests.faults.claims import ends_well
from tests.faults.ground import Ground, declare
from tests.stack import Stack, post

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.faults.conftest import Measured

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
AHEAD_SECONDS = 20


@pytest.fixture
def clocked() -> Iterator[tuple[Ground, Path]]:
    """A running stack whose clock is this machine's and what a file says on top of it."""
    if FAKETIME is None:
        pytest.skip("there is no libfaketime, which gives one stack a clock: apt install faketime")
    with disk.open_folder() as folder, ledger.kept() as path:
        clock = folder / "clock"
        set_clock(clock, "+0")
        root = stacks.clone(folder / "clone")
        made = declare(Stack(root, f"test-clock-{os.getpid()}", stacks.free_port(), "embedded"))
        made.variables |= {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_CACHE_DURATION": "1",
            # A step of the clock moves no timer.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        with stacks.stack(made):
            made.up()
            yield Ground(made, path), clock


def set_clock(path: Path, offset: str) -> None:
    """Move the clock; whole, for others read it all the time."""
    new = path.with_suffix(".new")
    new.write_text(offset + "\n")
    new.chmod(0o644)
    new.replace(path)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault(
    "the clock jumps an hour ahead, and back after 20 s",
    promises=[1],
    bound="all Completed 120 s after, no scheduled time has two runs",
)
def test_no_run_is_doubled_when_the_clock_jumps(
    clocked: tuple[Ground, Path], measured: Measured
) -> None:
    ground, clock = clocked

    def jumps() -> Collection[int]:
        set_clock(clock, "+3600")
        time.sleep(AHEAD_SECONDS)
        set_clock(clock, "+0")
        return ()

    found = trial.run(ground, jumps, runs=40, spread_seconds=30)
    measured |= found.measured()
    ends_well(ground, found)
    with ground.stack.client() as client:
        body = {"flow_runs": {"tags": {"all_": ["auto-scheduled"]}}, "limit": 200}
        runs = post(client, "/flow_runs/filter", body)
    times = [(each["deployment_id"], each["expected_start_time"]) for each in runs]
    measured["scheduled runs"] = len(times)
    assert len(times) == len(set(times)), "a scheduled time has two runs"
