"""The disk is full: all of it, or only the folder that flows write to."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from tests import stack as stacks
from tests.faults import disk, inject, ledger, trial
from tests.faults.claims import ends_well
from tests.faults.ground import Ground, declare
from tests.faults.load import PLAIN
from tests.stack import Stack, finished, start_run

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.faults.conftest import Measured

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
FULL_SECONDS = 75
MEGABYTES = 1500
DATA_MEGABYTES = 16


@pytest.fixture
def small() -> Iterator[Ground]:
    """A running stack that is on a small file system as a whole."""
    with disk.open_folder() as folder, ledger.kept() as path:
        root = stacks.clone(folder / "clone")
        name = f"test-disk-{os.getpid()}"
        with disk.mounted(root / ".stack", MEGABYTES):
            stack = declare(Stack(root, name, stacks.free_port(), "embedded"))
            with stacks.stack(stack):
                stack.up()
                yield Ground(stack, path)


@pytest.fixture
def small_data() -> Iterator[Ground]:
    """A running stack of which only the data folder is on a small file system."""
    with disk.open_folder() as folder, ledger.kept() as path:
        root = stacks.clone(folder / "clone")
        name = f"test-data-{os.getpid()}"
        stack = declare(Stack(root, name, stacks.free_port(), "embedded"))
        with stacks.stack(stack):
            stack.up()
            stack.down()
            with disk.mounted(root / ".stack" / name / "data", DATA_MEGABYTES):
                stack.up()
                yield Ground(stack, path)
                stack.down()


@pytest.mark.fault(
    "the disk of the whole stack is full for 75 s",
    promises=[1, 2, 3, 5, 6],
    bound="supervisor and worker live; all Completed 180 s after there is room",
)
def test_nothing_is_lost_when_the_disk_is_full(small: Ground, measured: Measured) -> None:
    before = inject.supervisor(small).pid, inject.service(small, "worker").pid

    def full() -> Collection[int]:
        with disk.filled(small.base):
            time.sleep(FULL_SECONDS)
        return ()

    result = trial.run(small, full, runs=40, spread_seconds=40, bound_seconds=180)
    measured |= result.measured()
    ends_well(small, result)
    assert (inject.supervisor(small).pid, inject.service(small, "worker").pid) == before


@pytest.mark.fault(
    "the data folder of flows is full for 30 s",
    promises=[1, 5],
    bound="only the run that writes there fails; all others Completed 120 s after",
)
def test_a_full_data_folder_hurts_its_writer_only(small_data: Ground, measured: Measured) -> None:
    worker = inject.service(small_data, "worker").pid
    data = small_data.base / "data"
    written = {"ledger": str(small_data.ledger), "writes": str(data / "written"), "key": "writer"}

    def full() -> Collection[int]:
        with disk.filled(data), small_data.stack.client() as client:
            told = finished(client, start_run(client, f"accounted/{PLAIN}", written), 60)
            assert told["state_type"] == "FAILED", told["state"]
            assert "No space left" in told["state"]["message"]
            time.sleep(20)
        return ()

    result = trial.run(small_data, full, runs=40, spread_seconds=20)
    measured |= result.measured()
    ends_well(small_data, result)
    assert inject.service(small_data, "worker").pid == worker
