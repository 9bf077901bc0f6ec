"""The stack that faults share, and the line that each fault gets on the page of reliability."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import stack as stacks
from tests.faults import ledger, report
from tests.faults import results as kept
from tests.faults.ground import Ground, declare
from tests.faults.results import Row
from tests.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

Measured = dict[str, int | float | str]
WHY_LENGTH = 300
FAILED = pytest.StashKey[bool]()
MEASURED = pytest.StashKey[Measured]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--reliability`."""
    parser.addoption(
        "--reliability",
        type=Path,
        metavar="FILE",
        help="add what was measured to FILE, and write the page beside it",
    )


def make(factory: pytest.TempPathFactory, name: str = "faults") -> Stack:
    """Return a stack in a clone of its own, with the flow of the suite; it is not started."""
    root = stacks.clone(factory.mktemp(name))
    return declare(Stack(root, f"test-{name}-{os.getpid()}", stacks.free_port(), "embedded"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """The stack that faults share."""
    with ledger.kept() as path, stacks.stack(make(tmp_path_factory)) as stack:
        yield Ground(stack, path)


@pytest.fixture
def ground(shared: Ground) -> Ground:
    """The shared stack: it runs, is well, and has nothing left from the fault before."""
    shared.ready()
    return shared


@pytest.fixture
def expendable(ground: Ground, request: pytest.FixtureRequest) -> Iterator[Ground]:
    """The shared stack for a test that damages it. If the test fails, the stack is removed."""
    declared = ground.stack.root / "prefect.yaml"
    text = declared.read_text()
    yield ground
    declared.write_text(text)
    if request.node.stash.get(FAILED, False):
        ground.stack.down("--volumes")


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    """What the page of reliability shows about this fault; the test fills it in."""
    stash: pytest.Stash = request.node.stash
    return stash.setdefault(MEASURED, {})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the line of a fault whether or not its promise has held."""
    result = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or result.failed
    path, mark = item.config.getoption("--reliability", None), item.get_closest_marker("fault")
    if path and mark and (call.when == "call" or result.outcome != "passed"):
        kept.add(path, _row(item, mark, result, call))
        report.write(path)
    return result


def _row(
    item: pytest.Item, mark: pytest.Mark, result: pytest.TestReport, call: pytest.CallInfo[None]
) -> Row:
    values: dict[str, Any] = dict(mark.kwargs)
    why = ""
    if result.outcome == "failed" and call.excinfo:
        why = " ".join(str(call.excinfo.value).split())[:WHY_LENGTH]
    if result.outcome == "skipped" and isinstance(result.longrepr, tuple):
        why = str(result.longrepr[2]).removeprefix("Skipped: ")
    outcome = {"passed": "held", "failed": "did not hold", "skipped": "not tried"}[result.outcome]
    return Row(
        test=item.nodeid,
        fault=mark.args[0],
        outcome=outcome,
        why=why,
        measured=item.stash.get(MEASURED, {}),
        **values,
    )
