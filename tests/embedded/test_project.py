"""A stack whose flows and declarations are in the user's own folder, outside of the clone."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests import stack as stacks
from tests.embedded.runs import logged
from tests.stack import Stack, complete, make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Modules of the project with names that the stack uses too; they must not be imported instead.
MODULES = ("server.py", "worker.py", "scripts.py")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack whose project is beside its clone; the clone's declarations are broken."""
    stack = make(tmp_path_factory, "project")
    stack.command("init", "../own")
    stack.variables["STACK_PROJECT"] = "../own"
    for name in ("prefect.yaml", "stack.yaml", "flows/hello.py"):
        (stack.root / name).write_text("[")
    for name in MODULES:
        (folder(stack) / name).write_text("raise RuntimeError('not of the product')\n")
    with stacks.stack(stack):
        stack.up()
        yield stack


def folder(stack: Stack) -> Path:
    """Return the folder of the stack's project."""
    return stack.root.parent / "own"


def edit(stack: Stack, name: str, change: Callable[[str], str]) -> None:
    """Rewrite a file of the stack's project."""
    path = folder(stack) / name
    path.write_text(change(path.read_text()))


def test_its_flows_are_deployed_and_run(stack: Stack) -> None:
    with stack.client() as client:
        run = complete(client, "hello/hello", {"name": "Ada"})
        assert logged(client, run["id"], "Hello, Ada!")
        complete(client, "vtasks/vtasks")  # imports modules beside it, and helpers


def test_an_edited_flow_is_what_the_next_run_executes(stack: Stack) -> None:
    edit(stack, "flows/hello.py", lambda text: text.replace("Hello, ", "Salve, "))
    with stack.client() as client:
        run = complete(client, "hello/hello", {"name": "Ada"})
        assert logged(client, run["id"], "Salve, Ada!")


def test_bootstrap_by_hand_reads_it_wherever_it_is_typed(stack: Stack) -> None:
    edit(
        stack,
        "prefect.yaml",
        lambda text: (
            f"{text}\n  - {{name: second, entrypoint: flows/hello.py:hello,"
            " work_pool: {name: default}}\n"
        ),
    )
    command = f'cd / && exec "{stack.root}/scripts/bootstrap.py" "$@"'
    first = stack.run("sh", "-c", command, "sh")
    assert first.returncode == 0, stack.said[-1]
    assert "1 created" in first.stdout
    assert "nothing changed" in stack.run("sh", "-c", command, "sh").stdout
    with stack.client() as client:
        complete(client, "hello/second")


def test_another_up_finds_it_as_it_is(stack: Stack) -> None:
    assert "was already running" in stack.up()


def test_another_project_asks_for_a_restart(stack: Stack) -> None:
    other = folder(stack).with_name("other")
    shutil.copytree(folder(stack), other)
    result = stack.run("scripts/stack", "up", "--embedded", env={"STACK_PROJECT": str(other)})
    assert result.returncode == 2, stack.said[-1]
    assert "the settings have changed since the stack was started" in result.stderr


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (shutil.rmtree, "no folder "),
    "without declarations": (lambda it: (it / "prefect.yaml").unlink(), "no prefect.yaml in "),
    "without packages": (lambda it: (it / "requirements.txt").unlink(), "no requirements.txt in "),
}


@pytest.mark.parametrize(("spoil", "found"), SPOILT.values(), ids=SPOILT)
def test_a_bad_folder_is_one_message_and_starts_nothing(
    spoil: Callable[[Path], object], found: str, unstarted: Stack
) -> None:
    unstarted.command("init", "../bad")
    bad = unstarted.root.parent / "bad"
    spoil(bad)
    try:
        for argv in (("scripts/stack", "up", "--embedded"), ("scripts/bootstrap.py",)):
            result = unstarted.run(*argv, env={"STACK_PROJECT": "../bad"})
            assert result.returncode == 2, unstarted.said[-1]
            said = " ".join(result.stderr.split())  # undo the wrapping to the terminal's width
            assert said.startswith("error: STACK_PROJECT=../bad is not a project expected: ")
            assert f"found: {found}" in said
            assert "scripts/stack init DIR" in said
        # Commands that only look or stop need no project.
        assert (
            unstarted.run("scripts/stack", "down", env={"STACK_PROJECT": "../bad"}).returncode == 0
        )
    finally:
        shutil.rmtree(bad, ignore_errors=True)


def test_a_project_is_made_once(unstarted: Stack) -> None:
    target = unstarted.root.parent / "once"
    unstarted.command("init", str(target))
    try:
        result = unstarted.run("scripts/stack", "init", str(target))
        assert result.returncode == 2, unstarted.said[-1]
        assert "a folder that is not empty" in result.stderr
    finally:
        shutil.rmtree(target)
