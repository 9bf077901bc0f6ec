"""Writes a `prefect.yaml` and `stack.yaml` of a test's own, and checks what is refused in them."""

import functools
from pathlib import Path
from typing import Any

import pytest

from server.bootstrap import declarations, kinds
from server.bootstrap.declarations import Declaration
from server.bootstrap.kinds.deployments import Deployments
from server.bootstrap.world import DeclarationError, World
from server.errors import MistakeError
from server.settings import ROOT

MARK = "  # here"
GIVEN = {
    "WORKER_CONCURRENCY": "10",
    "STACK_ROOT": "/stack",
    "TOKEN": "of-nobody-elses-business",
    "WAREHOUSE_PASSWORD": "a",
}


class NoServer:
    """Declarations are checked without a server: any request fails the test."""

    def call(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ARG002
        raise AssertionError(f"{method} {path} was sent before everything was checked")


def with_line(text: str, old: str, new: str) -> str:
    """Return `text` with its one line `old` replaced by the lines of `new`."""
    assert text.count(f"{old}\n") == 1, f"{old!r} is not there, or more than once"
    return text.replace(f"{old}\n", f"{new}\n" if new else "")


def check(folder: Path, text: str, stack: str = "") -> dict[str, Declaration]:
    """Read and check the two declarations of the project in `folder`, as bootstrap does."""
    (folder / "prefect.yaml").write_text(text)
    (folder / "stack.yaml").write_text(stack)
    return read(folder)


def read(folder: Path) -> dict[str, Declaration]:
    """Read and check the declarations that are in `folder`; return them by kind.

    Raises:
        DeclarationError: one of them is wrong.
    """
    world = World(folder)
    by_kind = declarations.read(world, kinds.every(world, NoServer()), GIVEN)
    if world.problems:
        raise DeclarationError(world.problems)
    return by_kind


@functools.cache
def read_shipped() -> dict[str, Declaration]:
    """Read the declarations that the clone is shipped with. Importing its flows takes a second."""
    return read(ROOT)


def tolerate(folder: Path, text: str, stack: str = "") -> tuple[World, dict[str, Declaration]]:
    """Read two declarations of which some are wrong; return the world, and what is right by kind.

    `World.problems` has what is wrong.
    """
    (folder / "prefect.yaml").write_text(text)
    (folder / "stack.yaml").write_text(stack)
    world = World(folder)
    return world, declarations.read(world, kinds.every(world, NoServer()), GIVEN)


def deployments(folder: Path, text: str) -> dict[str, dict[str, Any]]:
    """Return the fields that the server is to hold of each deployment in `text`, by full name."""
    (folder / "prefect.yaml").write_text(text)
    (folder / "stack.yaml").write_text("")
    world = World(folder)
    kind = Deployments(world, NoServer())
    items = declarations.read(world, [kind], GIVEN)[kind.name].items
    assert world.problems == []
    return {item.name: kind.fields(item) for item in items}


def mistake(folder: Path, text: str, stack: str = "") -> str:
    """Return the message that they are refused with, without the place that it begins with.

    That place has to be the marked line, and the message may not show the value of `TOKEN`.
    """
    with pytest.raises(MistakeError) as error:
        check(folder, text, stack)
    assert error.value.exit_code == 2
    name, marked = ("stack.yaml", stack) if MARK in stack else ("prefect.yaml", text)
    assert marked.count(MARK) == 1
    number = marked[: marked.index(MARK)].count("\n") + 1
    place = f"{name} line {number}: "
    assert str(error.value).startswith(place), str(error.value)
    assert GIVEN["TOKEN"] not in str(error.value)
    return str(error.value).removeprefix(place)
