"""The lock files install the same packages everywhere."""

import functools
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from server.settings import ROOT

RUNTIME = ROOT / "requirements.lock"
TEST = ROOT / "requirements-test.lock"
BOTH = pytest.mark.parametrize("path", [RUNTIME, TEST], ids=lambda path: path.name)


def lines(path: Path) -> list[str]:
    """Return the logical lines of a lock: a requirement and its hashes are one line."""
    text = re.sub(r"(?m)^\s*#.*$", "", path.read_text()).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip()]


def requirements(path: Path) -> list[Requirement]:
    return [Requirement(line.split(" --hash=")[0]) for line in lines(path)]


@functools.cache
def versions(path: Path) -> dict[str, set[str]]:
    """Return the versions of each package by its name; markers may choose among several."""
    by_name: dict[str, set[str]] = {}
    for requirement in requirements(path):
        by_name.setdefault(canonicalize_name(requirement.name), set()).add(
            str(requirement.specifier)
        )
    return by_name


def holds(wanted: Requirement) -> bool:
    """Whether every version of `wanted` in the lock satisfies it, and there is one."""
    locked = versions(RUNTIME).get(canonicalize_name(wanted.name), set())
    return bool(locked) and all(
        wanted.specifier.contains(each.removeprefix("==")) for each in locked
    )


@BOTH
def test_every_requirement_is_of_one_version_and_has_hashes(path: Path) -> None:
    pinned = re.compile(r"[\w.\[\],-]+==[^\s;,*]+( ; .+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")
    assert [line for line in lines(path) if not pinned.fullmatch(line)] == []
    assert len(lines(path)) > 50


@BOTH
def test_it_installs_from_whatever_index_the_machine_uses(path: Path) -> None:
    options = [line for line in lines(path) if line.lstrip().startswith("-")]
    addresses = [line for line in path.read_text().splitlines() if "://" in line or " @ " in line]
    assert options + addresses == []


def test_the_tests_run_with_the_versions_that_are_shipped() -> None:
    tested = versions(TEST)
    assert {name: tested.get(name) for name in versions(RUNTIME)} == versions(RUNTIME)


def test_whatever_the_project_asks_for_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(each) for each in project["dependencies"]]
    assert [str(each) for each in wanted if not holds(each)] == []
