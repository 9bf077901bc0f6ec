"""Clones that are copied, moved, or have stacks of one name never touch each other's data."""

from __future__ import annotations

import dataclasses
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests import stack as stacks
from tests.faults.conftest import make
from tests.faults.test_files import MISTAKE
from tests.stack import complete, get

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.conftest import Measured
    from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, str]]:
    """A stack that is down, and the id of a run that it has completed."""
    with stacks.stack(make(tmp_path_factory, "original")) as stack:
        stack.up()
        with stack.client() as client:
            run = complete(client, "hello/hello")["id"]
        stack.down()
        yield stack, run


def elsewhere(stack: Stack, root: Path) -> Stack:
    """Return the stack of the same name in another clone, on another port."""
    return dataclasses.replace(stack, root=root, port=stacks.free_port(), said=[])


def has(stack: Stack, run: str) -> bool:
    """Whether the stack has the run, as completed."""
    with stack.client() as client:
        return bool(get(client, f"/flow_runs/{run}")["state_type"] == "COMPLETED")


@pytest.mark.fault(
    "a clone is copied with its data; `down --volumes` in the copy",
    promises=[8],
    bound="the copy runs on data of its own or is refused with 2; the original has its runs",
)
def test_a_copy_does_not_touch_the_data_of_its_original(
    original: tuple[Stack, str], measured: Measured
) -> None:
    stack, run = original
    root = stack.root.with_name("copy")
    subprocess.run(["cp", "-a", str(stack.root), str(root)], check=True)
    copy = elsewhere(stack, root)
    result = copy.run("scripts/stack", "up", "--embedded")
    measured["exit of the copy"] = result.returncode
    assert result.returncode in {0, MISTAKE}, copy.said[-1]
    copy.down("--volumes")
    stack.up()
    assert has(stack, run)


@pytest.mark.fault(
    "a clone is moved with its data",
    promises=[8],
    bound="it has its runs, or is refused with 2 and what to do",
)
def test_a_moved_clone_has_its_runs(original: tuple[Stack, str], measured: Measured) -> None:
    stack, run = original
    moved = elsewhere(stack, stack.root.with_name("moved"))
    stack.root.rename(moved.root)
    try:
        result = moved.run("scripts/stack", "up", "--embedded")
        measured["exit after the move"] = result.returncode
        assert result.returncode in {0, MISTAKE}, moved.said[-1]
        if result.returncode == 0:
            assert has(moved, run), "it has begun anew with an empty database"
        else:
            assert "expected" in moved.said[-1], moved.said[-1]
        moved.down()
    finally:
        moved.root.rename(stack.root)
    stack.up()
    assert has(stack, run)


@pytest.mark.fault(
    "two clones run stacks of one name; `down --volumes` of one",
    promises=[8],
    bound="each has its own runs; the other goes on",
)
def test_two_clones_of_one_name_do_not_meet(
    original: tuple[Stack, str], measured: Measured, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stack, run = original
    stack.up()
    with stacks.stack(elsewhere(stack, stacks.clone(tmp_path_factory.mktemp("second")))) as second:
        second.up()
        with second.client() as client:
            assert client.get(f"/flow_runs/{run}").status_code == 404
            complete(client, "hello/hello")
    measured["the other's status"] = "well" if stack.status()["running"] else "ill"
    assert stack.status()["running"]
    assert has(stack, run)
