"""Which of the project's packages may import which."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from server.settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = {"server", "worker", "flows", "scripts", "benchmarks", "tests"}
# The packages that each may import besides itself.
ALLOWED = {
    "flows": set[str](),
    "server": set[str](),
    "worker": {"server"},
    "scripts": {"server", "worker", "benchmarks"},
    "benchmarks": {"server", "worker", "scripts"},
}
SAMPLES = "project_files"  # what `scripts/stack init` copies; it is code of another project
COMMAND = "scripts/cli.py"  # `scripts/stack bench` is where the benchmarks begin


def imports_of(path: Path) -> set[str]:
    """Return the top-level packages that a file imports, also in functions and for types only."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # A relative import stays in its package: flows/tracking is copied to other projects.
            names |= {str(node.module)} if node.level == 0 else set()
    return {name.partition(".")[0] for name in names}


def files(package: str) -> list[Path]:
    paths = sorted(path for path in (ROOT / package).rglob("*.py") if SAMPLES not in path.parts)
    assert paths
    return paths


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_those_below_it(package: str) -> None:
    forbidden = PACKAGES - ALLOWED[package] - {package}
    wrong = {
        str(path.relative_to(ROOT)): sorted(packages)
        for path in files(package)
        if (packages := imports_of(path) & forbidden)
    }
    assert wrong == {}


def test_only_the_command_imports_the_benchmarks() -> None:
    wanting = [path for path in files("scripts") if "benchmarks" in imports_of(path)]
    assert [str(path.relative_to(ROOT)) for path in wanting] == [COMMAND]


def test_an_import_inside_a_function_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "late.py"
    path.write_text("def late():\n    from tests.images import standins\n    import os.path\n")
    assert imports_of(path) == {"tests", "os"}
