"""No memory is left, and the kernel kills the processes that it picks."""

from __future__ import annotations

import contextlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults import inject, trial
from tests.faults.claims import ends_well
from tests.stack import finished, start_run

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.faults.conftest import Measured
    from tests.faults.ground import Ground

GROUPS = Path("/sys/fs/cgroup/memory")  # of version 1
ROOM_MEGABYTES = 600


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.fault(
    "runs take all memory of the worker's cgroup, three times",
    promises=[1, 2, 3, 4],
    bound="only the greedy and what the kernel ended are Crashed; all ended after 120 s",
)
def test_the_kernel_ends_the_greedy_and_all_others_are_done(
    ground: Ground, measured: Measured
) -> None:
    worker = inject.service(ground, "worker")
    told: list[str] = []

    def eaten() -> Collection[int]:
        with ground.stack.client() as client:
            for _ in range(3):
                greedy = start_run(client, "eats/eats", {"megabytes": 4 * ROOM_MEGABYTES})
                told.append(finished(client, greedy, 120)["state_type"])
        return ()

    with limited([worker.pid, *(each.pid for each in worker.children(recursive=True))]) as group:
        result = trial.run(ground, eaten, runs=40, spread_seconds=15)
        kills = (group / "memory.oom_control").read_text().split()
    measured |= {**result.measured(), "ended by the kernel": kills[-1]}
    assert told == ["CRASHED"] * 3
    ends_well(ground, result)
    assert inject.service(ground, "worker").pid == worker.pid


@contextmanager
def limited(pids: list[int]) -> Iterator[Path]:
    """Yield a cgroup with little more memory than these processes use, them and their children."""
    group = GROUPS / f"faults-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no memory cgroup of version 1 can be made here: {error}")
    try:
        for pid in pids:
            (group / "cgroup.procs").write_text(f"{pid}")
        used = int((group / "memory.usage_in_bytes").read_text())
        (group / "memory.limit_in_bytes").write_text(str(used + ROOM_MEGABYTES * 2**20))
        yield group
    finally:
        for left in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                (GROUPS / "cgroup.procs").write_text(left)
        group.rmdir()
