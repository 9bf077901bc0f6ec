"""One embedded stack that most files share, single stacks, projects and types of worker."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest

from tests import claims
from tests import project as projects
from tests import stack as stacks
from tests.embedded import two_workers
from tests.embedded.all_kinds import TOKEN
from tests.embedded.processes import processes
from tests.embedded.two_workers import PREFORK, STOCK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.project import Project
    from tests.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with passwords of special characters."""
    with claims.running(stacks.make(tmp_path_factory, "embedded")) as made:
        yield made


@pytest.fixture
def unstarted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack in its own clone, for commands that must not start anything."""
    made = stacks.make(tmp_path_factory, "single")
    yield made
    assert processes(made) == []


@pytest.fixture
def project(stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """A project with names of its own on the shared stack; all of it is pruned afterwards."""
    name = f"t{zlib.crc32(request.node.name.encode())}"
    made = projects.make(tmp_path, stack, name)
    made.variables["TOKEN"] = TOKEN
    yield made
    made.write()
    made.apply("--prune")


@pytest.fixture(scope="module")
def stock_worker(stack: Stack) -> Iterator[None]:
    """A worker of Prefect's own type `process`, beside ours."""
    with two_workers.worker(stack, STOCK, STOCK):
        yield


# Prefect's own worker starts an interpreter for each run, so tests with it take minutes.
@pytest.fixture(params=[PREFORK, pytest.param(STOCK, marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest) -> str:
    """Each type of worker; its pool, its worker and its deployments have the same name."""
    if request.param == STOCK:
        request.getfixturevalue("stock_worker")
    return str(request.param)


@pytest.fixture(
    scope="module",
    params=[(PREFORK,), pytest.param((STOCK, PREFORK), marks=pytest.mark.slow)],
    ids=["prefork", "both"],
)
def kinds(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The types of worker that a test runs its flows with and compares: ours only, or both."""
    if STOCK in request.param:
        request.getfixturevalue("stock_worker")
    return tuple(request.param)
