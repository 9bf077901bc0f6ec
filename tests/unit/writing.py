"""A `prefect.yaml` of the test's own, whose wrong line is marked."""

from pathlib import Path
from typing import Any

import pytest

from server.bootstrap import declarations, kinds
from server.bootstrap.declarations import Declaration
from server.bootstrap.kinds.deployments import Deployments
from server.bootstrap.world import DeclarationError, World
from server.errors import MistakeError

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
    """`text` with the line `old` replaced by the lines of `new`."""
    assert text.count(f"{old}\n") == 1, f"{old!r} is not there, or more than once"
    return text.replace(f"{old}\n", f"{new}\n" if new else "")


def check(folder: Path, text: str, stack: str = "") -> dict[str, Declaration]:
    """Read and check the two declarations of the project in `folder`, as bootstrap does."""
    (folder / "prefect.yaml").write_text(text)
    (folder / "stack.yaml").write_text(stack)
    return read(folder)


def read(folder: Path) -> dict[str, Declaration]:
    """Read and check the declarations that are in `folder`."""
    world = World(folder)
    found = declarations.read(world, kinds.every(world, NoServer()), GIVEN)
    if world.problems:
        raise DeclarationError(world.problems)
    return found


def tolerate(folder: Path, text: str, stack: str = "") -> tuple[World, dict[str, Declaration]]:
    """What is right of the two declarations, and the world, which knows what is wrong."""
    (folder / "prefect.yaml").write_text(text)
    (folder / "stack.yaml").write_text(stack)
    world = World(folder)
    return world, declarations.read(world, kinds.every(world, NoServer()), GIVEN)


def deployments(folder: Path, text: str) -> dict[str, dict[str, Any]]:
    """What the server is to hold of each deployment of `text`, by its full name."""
    (folder / "prefect.yaml").write_text(text)
    (folder / "stack.yaml").write_text("")
    world = World(folder)
    kind = Deployments(world, NoServer())
    items = declarations.read(world, [kind], GIVEN)[kind.name].items
    assert world.problems == []
    return {item.name: kind.fields(item) for item in items}


def mistake(folder: Path, text: str, stack: str = "") -> str:
    """The message that they are refused with, without its start, which names the marked line."""
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
