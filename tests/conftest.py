"""Hooks that all tests share."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Generator

    from xdist.workermanage import WorkerController

ROOT = Path(__file__).resolve().parents[1]

# A shell starts background jobs with SIGINT ignored, and children inherit that. Prefect's own
# worker, which turns SIGTERM into a SIGINT to itself, would then never stop.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Files that take minutes start first, longest first, so that no process is left alone with one of
# them at the end. Files that are not listed follow in the order of collection.
LONGEST_FIRST = (
    "tests/docker/test_stack.py",
    "tests/faults/test_kills.py",
    "tests/embedded/test_requests.py",
    "tests/embedded/test_prefork_faults.py",
    "tests/embedded/test_bootstrap.py",
    "tests/browser/test_form.py",
    "tests/embedded/test_prefork_stop.py",
    "tests/embedded/test_stack.py",
    "tests/embedded/test_bad_input.py",
    "tests/embedded/test_alerts.py",
    "tests/embedded/test_worker_types.py",
    "tests/docker/test_remote.py",
    "tests/docker/test_worker.py",
    "tests/embedded/test_worker_types_code.py",
    "tests/embedded/test_remote.py",
    "tests/embedded/test_tracking.py",
    "tests/embedded/test_prefork.py",
    "tests/embedded/test_users.py",
    "tests/embedded/test_project.py",
    "tests/embedded/test_upgrade.py",
    "tests/embedded/test_benchmarks.py",
)
BROWSER = "tests/browser"  # its files share two stacks


class WholeFiles(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each process whole files, since a file shares a stack; the browser's stay together."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return BROWSER if file.startswith(f"{BROWSER}/") else file

    def _reschedule(self, node: WorkerController) -> None:
        # xdist hands out the next file while two tests of the current one are left, so a file of
        # minutes may wait behind a test of minutes. One test has to be left: a process runs its
        # last test only when it knows what comes next.
        if not self.workqueue or self._pending_of(self.assigned_work[node]) <= 1:
            super()._reschedule(node)


@pytest.hookimpl(optionalhook=True)  # pytest may run without xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Replace the scheduler of xdist with one that hands out whole files."""
    return WholeFiles(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the longest files first; xdist hands them out in this order."""
    rank = {name: place for place, name in enumerate(LONGEST_FIRST)}

    def key(item: pytest.Item) -> int:
        return rank.get(item.path.relative_to(ROOT).as_posix(), len(rank))

    items.sort(key=key)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add status and logs of the stacks that a failed test used to its report."""
    report = yield
    if report.failed and call.when != "teardown":
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Stack):
                report.sections.append((f"stack {name}", value.report()))
    return report
