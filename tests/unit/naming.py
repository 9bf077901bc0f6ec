"""Whose name does not begin with that of the flow or task that calls it."""

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
# What starts a run of the flow or task that it is asked of, or gives one like it.
STARTS = {"submit", "map", "delay", "apply_async", "with_options"}


def modules(folder: Path, package: str) -> list[ModuleType]:
    """Every module of a package, imported."""
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*.py"))
    names = [".".join((package, *path.with_suffix("").parts)) for path in paths]
    return [importlib.import_module(name.removesuffix(".__init__")) for name in names]


def offenders(found: list[ModuleType]) -> list[str]:
    """What is wrong with the names of the flows and tasks in some modules, a line each.

    A unit that another calls has that one's name, a dot, and one word more. One that none calls is
    a flow with the name of its module.

    Calls are read in the source: those of a function, and of the functions in these modules that
    it calls. A call is seen when it names its target by a global name, or by an attribute of a
    module: `greet(...)`, `greet.submit(...)`, `steps.greet(...)`, `greet.with_options(name=...)`.
    One that goes through a local variable, an argument or an import inside of a function is not
    seen. A target of such calls only counts as called by none, which is wrong too.
    """
    units = [
        unit
        for module in found
        for unit in vars(module).values()
        if isinstance(unit, Flow | Task) and unit.fn.__module__ == module.__name__
    ]
    names = {module.__name__ for module in found}
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
    """The flows and tasks that a function calls, each with its name there."""
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
    """What a name, or an attribute of a module, stands for; None if it is neither."""
    if isinstance(node, ast.Name):
        return inspect.unwrap(function).__globals__.get(node.id)
    if isinstance(node, ast.Attribute) and inspect.ismodule(
        owner := _resolve(node.value, function)
    ):
        return getattr(owner, node.attr, None)
    return None


def _renamed(node: ast.Call) -> str | None:
    """The name that `with_options(name=...)` gives."""
    for keyword in node.keywords:
        is_option = isinstance(node.func, ast.Attribute) and node.func.attr == "with_options"
        if is_option and keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value)
    return None
