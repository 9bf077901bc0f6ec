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

ROOT = Path(__file__).resolve().parents[1]

# A shell starts what it puts into the background with Ctrl-C ignored, children inherit that, and
# Prefect's own worker, which passes SIGTERM on to itself as SIGINT, would never stop.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Groups(LoadScopeScheduling):  # type: ignore[misc]
    """One process runs what shares a stack, or the engine: a file, a fixture, all of Docker."""

    def _split_scope(self, nodeid: str) -> str:
        file = ROOT / nodeid.partition("::")[0]
        folder = file.parent.name
        if folder in {"docker", "browser"}:
            return "docker"
        shares = folder == "embedded" and "\ndef stack(" not in file.read_text()
        return folder if shares else str(file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Hand out whole groups.

    Not by marks: with pytest 9.2, xdist 3.8 does not see them.
    """
    return Groups(config, log)


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
