"""No imports go round in a circle, and health checks import little."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import pytest

from server import services
from server.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGES = ("server", "flows", "scripts", "worker")
# A distribution of its own, whose imports test_prefork_house.py checks.
PREFORK = ROOT / "worker" / "prefect_prefork"

HEALTH = [each.health.command for each in services.every() if each.health]


def modules() -> dict[str, Path]:
    """Return the file of each module of `PACKAGES` by its full name."""
    paths = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if PREFORK in path.parents:
                continue
            parts = path.relative_to(ROOT).with_suffix("").parts
            paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return paths


def imports_of(path: Path) -> Iterator[str]:
    """Yield the full names of what a file imports, also inside functions and for types only."""
    package = path.parent.relative_to(ROOT).parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_no_imports_go_round_in_a_circle() -> None:
    known = modules()
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        # A name that is not a module is one that a module defines.
        targets = (each if each in known else each.rpartition(".")[0] for each in imports_of(path))
        graph[name] = {each for each in targets if each in known and each != name}
    assert len(graph) > 100
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise AssertionError(f"expected no circle of imports, found {circle}") from None


@pytest.mark.parametrize("module", [argv[2] for argv in HEALTH if argv[:2] == ("python", "-m")])
def test_health_checks_import_nothing_that_takes_time(module: str) -> None:
    """Docker starts a health check every few seconds."""
    script = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True, text=True
    )
    assert {"pydantic", "sqlalchemy", "prefect", "tenacity"} & set(done.stdout.split()) == set()
