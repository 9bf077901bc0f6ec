"""One embedded stack for the claims that share it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import claims
from tests import stack as stacks
from tests.embedded.processes import processes
from tests.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the claims that stop and kill the shared stack after all that use it."""
    last = Path(__file__).with_name("test_stack.py")
    items.sort(key=lambda item: item.path == last)


def make(tmp_path_factory: pytest.TempPathFactory, name: str) -> Stack:
    """A stack in a clone of its own, not started."""
    root = stacks.clone(tmp_path_factory.mktemp(name))
    return Stack(root, f"test-{name}-{os.getpid()}", stacks.free_port(), "embedded")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with passwords that hold any character."""
    with claims.running(make(tmp_path_factory, "embedded")) as made:
        yield made


@pytest.fixture
def unstarted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack in a clone of its own for commands that must start nothing."""
    made = make(tmp_path_factory, "single")
    yield made
    assert processes(made) == []
