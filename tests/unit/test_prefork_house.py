"""The distribution `prefect-prefork` is complete, and needs nothing but Prefect."""

from __future__ import annotations

import ast
import subprocess
import sys
import sysconfig
import tomllib
from graphlib import CycleError, TopologicalSorter
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile

from flit_core import buildapi
from packaging.requirements import Requirement

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "worker" / "prefect_prefork"
INSTALLED = Path(sysconfig.get_path("purelib")) / "prefect_prefork"
# Prefect, and packages that Prefect itself requires.
ALLOWED = {"prefect", "prefect_prefork", "anyio", "certifi", "httpx", "pydantic", "websockets"}


def files(folder: Path) -> dict[str, Path]:
    """Return the file of each module of the package in `folder` by its full name."""
    paths = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        paths[".".join(parts).removesuffix(".__init__")] = path
    return paths


def imports_of(path: Path, *, for_types: bool) -> set[str]:
    """Return the full names of its imports; those that only types need if `for_types`."""
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            names.update(each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: an import that is relative"
            names.update(f"{node.module}.{each.name}" for each in node.names)
        elif not for_types and isinstance(node, ast.If) and _is_for_types(node):
            return
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return names


def _is_for_types(node: ast.If) -> bool:
    return ast.unparse(node.test) == "TYPE_CHECKING"


def test_it_imports_prefect_what_comes_with_it_and_the_standard_library() -> None:
    foreign = {
        f"{name} imports {each}"
        for name, path in files(SOURCE).items()
        for each in imports_of(path, for_types=True)
        if (top := each.partition(".")[0]) not in ALLOWED and top not in sys.stdlib_module_names
    }
    assert foreign == set()


def test_what_it_counts_on_besides_prefect_is_required_by_prefect() -> None:
    required = {
        line.split(";")[0].strip().lower()
        for line in metadata.requires("prefect") or ()
        if "extra ==" not in line
    }
    for name in ALLOWED - {"prefect", "prefect_prefork"}:
        assert any(line.startswith(name) for line in required), name


def test_its_imports_have_no_circle() -> None:
    modules = files(SOURCE)
    graph = {
        name: {
            target
            for each in imports_of(path, for_types=False)
            for target in (each, each.rpartition(".")[0])
            if target in modules and target != name and modules[target].name != "__init__.py"
        }
        for name, path in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_this_environment_has_the_package_as_it_is_here() -> None:
    """`scripts/python` installs the package again after an edit."""
    here = {name: path.read_bytes() for name, path in files(SOURCE).items()}
    there = {name: path.read_bytes() for name, path in files(INSTALLED).items()}
    assert INSTALLED != SOURCE
    assert [name for name in here | there if here.get(name) != there.get(name)] == []


def test_its_wheel_holds_the_package_the_licence_and_the_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT / "worker")
    with ZipFile(tmp_path / buildapi.build_wheel(str(tmp_path))) as wheel:
        held = set(wheel.namelist())
        [entry_points] = [each for each in held if each.endswith("entry_points.txt")]
        entries = wheel.read(entry_points).decode()
    assert entries.split() == ["[prefect.collections]", "prefect_prefork=prefect_prefork.worker"]
    modules = {str(path.relative_to(ROOT / "worker")) for path in files(SOURCE).values()}
    package = {each for each in held if ".dist-info/" not in each}
    assert package == {*modules, "prefect_prefork/py.typed"}
    assert [each for each in held if each.endswith("licenses/LICENSE")] != []


def test_its_version_is_in_its_changelog() -> None:
    project = tomllib.loads((ROOT / "worker/pyproject.toml").read_text())["project"]
    assert metadata.version("prefect-prefork") == project["version"]
    assert f"## [{project['version']}]" in (ROOT / "worker/CHANGELOG.md").read_text()


def test_it_is_licensed_as_the_stack_is() -> None:
    assert (ROOT / "worker/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_stack_runs_a_prefect_that_it_supports() -> None:
    project = tomllib.loads((ROOT / "worker/pyproject.toml").read_text())["project"]
    [required] = project["dependencies"]
    assert Requirement(required).specifier.contains(metadata.version("prefect"))


def test_a_stack_that_was_started_before_there_was_the_package_can_be_stopped() -> None:
    """The environment of such a stack lacks the package, and does not change while it runs."""
    commands = "scripts.cli, scripts.backends.embedded.services"
    script = f"import sys; sys.modules['prefect_prefork'] = None; import {commands}"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
