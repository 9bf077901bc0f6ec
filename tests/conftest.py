"""Fixtures and hooks that all tests share."""

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

# A shell starts what it puts into the background with Ctrl-C ignored, children inherit that, and
# Prefect's own worker, which passes SIGTERM on to itself as SIGINT, would never stop.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Files that take minutes are started first, the longest one before all, so that no process is left
# alone with one of them at the end. A file that is not named here takes its turn by name.
LONGEST_FIRST = (
    "tests/docker/test_stack.py",
    "tests/docker/test_remote.py",
    "tests/embedded/test_worker_types.py",
    "tests/docker/test_bad_input.py",
    "tests/browser/test_form.py",
    "tests/embedded/test_transfer.py",
    "tests/embedded/test_users.py",
    "tests/embedded/test_alerts.py",
    "tests/docker/test_alerts.py",
    "tests/embedded/test_worker_types_code.py",
    "tests/embedded/test_bootstrap.py",
    "tests/embedded/test_prefork_stop.py",
    "tests/embedded/test_prefork_faults.py",
    "tests/embedded/test_stack.py",
    "tests/embedded/test_bad_input.py",
    "tests/embedded/test_project.py",
    "tests/embedded/test_tracking.py",
    "tests/embedded/test_upgrade.py",
    "tests/embedded/test_prefork.py",
    "tests/docker/test_worker.py",
)
BROWSER = "tests/browser"  # its files share two stacks


class WholeFiles(LoadScopeScheduling):  # type: ignore[misc]
    """One process runs a file, since a file shares a stack; the browser's files go together."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return BROWSER if file.startswith(f"{BROWSER}/") else file

    def _reschedule(self, node: WorkerController) -> None:
        # xdist hands out the next file while two tests of the present one are left, and so leaves a
        # file of minutes waiting behind a test of minutes. One has to be left: a process runs its
        # last test only when it knows what comes next.
        if not self.workqueue or self._pending_of(self.assigned_work[node]) <= 1:
            super()._reschedule(node)


@pytest.hookimpl(optionalhook=True)  # pytest may run without xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Hand out whole files."""
    return WholeFiles(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first; xdist hands them out in this order."""
    rank = {name: place for place, name in enumerate(LONGEST_FIRST)}

    def key(item: pytest.Item) -> int:
        return rank.get(item.path.relative_to(ROOT).as_posix(), len(rank))

    items.sort(key=key)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add state, health and logs of the stacks that a failed test used."""
    report = yield
    if report.failed and call.when != "teardown":
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Stack):
                report.sections.append((f"stack {name}", value.report()))
    return report
