"""One embedded stack for the claims that share it."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING

import pytest

from tests import claims
from tests import project as projects
from tests import stack as stacks
from tests.embedded.everything import TOKEN
from tests.embedded.processes import processes
from tests.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.project import Project


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


@pytest.fixture
def project(stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """A project of the test's own, with names of its own; nothing of it is left afterwards."""
    name = f"t{zlib.crc32(request.node.name.encode())}"
    made = projects.make(tmp_path, stack, name)
    made.variables["TOKEN"] = TOKEN
    yield made
    made.write()
    made.apply("--prune")
