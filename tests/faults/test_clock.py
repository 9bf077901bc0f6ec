"""The clock of the stack jumps an hour ahead, and back."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
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

SOURCE = Path(__file__).with_name("clock.c")
HOUR = 3600  # seconds
AHEAD_SECONDS = 20


@pytest.fixture
def clocked() -> Iterator[tuple[Ground, Path]]:
    """A running stack whose clock is ahead of this machine's by the seconds that a file holds."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler is here, for what gives one stack a clock: apt install gcc")
    with disk.open_folder() as folder, ledger.kept() as path:
        clock, library = folder / "clock", folder / "clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
        clock.write_bytes(struct.pack("l", 0))
        root = stacks.clone(folder / "clone")
        stack = declare(Stack(root, f"test-clock-{os.getpid()}", stacks.free_port(), "embedded"))
        stack.variables |= {"LD_PRELOAD": str(library), "CLOCK_AHEAD": str(clock)}
        with stacks.stack(stack):
            stack.up()
            yield Ground(stack, path), clock


def set_clock(path: Path, ahead_seconds: int) -> None:
    """Set the clock of all processes at once, through the file that they have mapped."""
    with path.open("r+b") as file:
        file.write(struct.pack("l", ahead_seconds))


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
        set_clock(clock, HOUR)
        time.sleep(AHEAD_SECONDS)
        set_clock(clock, 0)
        return ()

    result = trial.run(ground, jumps, runs=40, spread_seconds=30)
    measured |= result.measured()
    ends_well(ground, result)
    with ground.stack.client() as client:
        body = {"flow_runs": {"tags": {"all_": ["auto-scheduled"]}}, "limit": 200}
        runs = post(client, "/flow_runs/filter", body)
    times = [(each["deployment_id"], each["expected_start_time"]) for each in runs]
    measured["scheduled runs"] = len(times)
    assert len(times) == len(set(times)), "a scheduled time has two runs"
