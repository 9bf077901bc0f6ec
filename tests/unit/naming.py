"""Finds flows and tasks whose name does not begin with the name of the one that calls them."""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from typing import TYPE_CHECKING, Any

from prefect import Flow, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

Unit = Flow[..., Any] | Task[..., Any]
# Methods of a flow or task that start a run of it, or return a copy of it.
STARTS = {"submit", "map", "delay", "apply_async", "with_options"}


def modules(folder: Path, package: str) -> list[ModuleType]:
    """Import every module of a package."""
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*.py"))
    names = [".".join((package, *path.with_suffix("").parts)) for path in paths]
    return [importlib.import_module(name.removesuffix(".__init__")) for name in names]


def offenders(sources: list[ModuleType]) -> list[str]:
    """Return a line for each flow or task in `sources` that has a wrong name.

    The right name of a flow or task that another one calls is the caller's name, a dot and one
    word. What nothing calls has to be a flow with the name of its module.

    Calls are read in the source of each function, and of the functions in `sources` that it calls.
    A call is seen when its target is a global name or an attribute of a module: `greet(...)`,
    `greet.submit(...)`, `steps.greet(...)`, `greet.with_options(name=...)`. A call through a local
    variable, an argument or an import inside a function is not seen. A target that is only called
    in such ways is reported as called by nothing.
    """
    units = [
        unit
        for module in sources
        for unit in vars(module).values()
        if isinstance(unit, Flow | Task) and unit.fn.__module__ == module.__name__
    ]
    names = {module.__name__ for module in sources}
    problems, called = [], set()
    for unit in units:
        for child, name in _calls(unit.fn, names, set()):
            called.add(id(child.fn))
            stem, _, word = name.rpartition(".")
            if stem != unit.name or not word:
                problems.append(
                    f"{unit.name} calls {name}: expected the name {unit.name}.{word or name}"
                )
    for unit in units:
        module = unit.fn.__module__.rpartition(".")[2]
        if id(unit.fn) not in called and not (isinstance(unit, Flow) and unit.name == module):
            problems.append(f"{unit.name} is called by none: expected a flow named {module}")
    return problems


def _calls(
    function: Callable[..., Any], names: set[str], seen: set[int]
) -> Iterator[tuple[Unit, str]]:
    """Yield the flows and tasks that a function calls, each with the name that it has there."""
    if id(function) in seen:
        return
    seen.add(id(function))
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        target = _resolve(node.func, function)
        if target is None and isinstance(node.func, ast.Attribute) and node.func.attr in STARTS:
            target = _resolve(node.func.value, function)
        if isinstance(target, Flow | Task):
            yield target, _renamed(node) or target.name
        elif inspect.isfunction(target) and target.__module__ in names:
            yield from _calls(target, names, seen)


def _resolve(node: ast.expr, function: Callable[..., Any]) -> object:
    """Return what a name, or an attribute of a module, stands for; None for any other node."""
    if isinstance(node, ast.Name):
        return inspect.unwrap(function).__globals__.get(node.id)
    if isinstance(node, ast.Attribute) and inspect.ismodule(
        owner := _resolve(node.value, function)
    ):
        return getattr(owner, node.attr, None)
    return None


def _renamed(node: ast.Call) -> str | None:
    """Return the name that a call of `with_options(name=...)` gives; None for other calls."""
    for keyword in node.keywords:
        is_option = isinstance(node.func, ast.Attribute) and node.func.attr == "with_options"
        if is_option and keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value)
    return None
