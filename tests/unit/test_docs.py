"""The commands, settings and files that the documents name exist."""

import re
from pathlib import Path

import pytest

from scripts.cli import app
from server.bootstrap.substitution import STACK_ROOT
from server.settings import ROOT, Settings

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", ".env.example")),
    *sorted((ROOT / "docs").glob("*.md")),
]
LOCK = "STACK_LOCK"  # which lock scripts/python installs
VERBS = {
    command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands
}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_is_named_exists(path: Path) -> None:
    text = path.read_text()
    named = set(re.findall(r"scripts/stack ([a-z]+)", text))
    assert named <= VERBS


def test_the_readme_names_every_command() -> None:
    named = set(re.findall(r"`scripts/stack ([a-z]+)", (ROOT / "README.md").read_text()))
    assert named == VERBS


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    text = path.read_text()
    named = set(re.findall(r"\b(?:STACK|POSTGRES|WORKER|ENCRYPTION|SLACK)_[A-Z_]+", text))
    assert named <= {*Settings.names(), STACK_ROOT, LOCK}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_is_linked_exists(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text())
    local = [link for link in links if not link.startswith("http")]
    assert [link for link in local if not (path.parent / link).exists()] == []
