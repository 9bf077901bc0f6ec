"""Fixtures and hooks that all tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have one process run what shares a stack, or the engine: a file, a fixture, all of Docker."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    folder = item.path.parent.name
    if folder in {"docker", "browser"}:
        return "docker"
    module = item.getparent(pytest.Module)
    own = module is not None and hasattr(module.obj, "stack")
    shared = "stack" in getattr(item, "fixturenames", ()) and not own
    return folder if shared else f"{folder}/{item.path.stem}"


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
