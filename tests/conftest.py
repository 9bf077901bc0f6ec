"""Fixtures and hooks that all tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Generator


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
