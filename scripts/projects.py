"""Checks and creates projects: folders of flows and declarations, inside or outside of the clone.

In a project of their own, users edit no file that the clone tracks, so `git pull` never conflicts.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from server.errors import MistakeError
from server.settings import ROOT
from server.settings.placeholders import DECLARATIONS

if TYPE_CHECKING:
    from server.settings import Settings

FLOWS = "flows"
REQUIREMENTS = "requirements.txt"  # in the clone itself, it is in flows/
EXPECTED = f"a folder with {FLOWS}/, {', '.join(DECLARATIONS)} and {REQUIREMENTS}"
SAMPLES = Path(__file__).parent / "project_files"


def check(values: Settings) -> None:
    """Refuse a project that a stack cannot run.

    The clone itself is always accepted: bootstrap reports what is wrong with its declarations.

    Raises:
        MistakeError: its folder is missing, incomplete, unreadable, or inside `.stack`.
    """
    folder = values.project
    if folder != ROOT and (problem := _problem(folder)):
        raise MistakeError(
            f"STACK_PROJECT={values.stack_project} is not a project",
            expected=EXPECTED,
            found=problem,
            do="correct STACK_PROJECT, or make one: scripts/stack init DIR",
        )


def make(folder: Path) -> Path:
    """Create a project in `folder` from the samples, and return its absolute path.

    Raises:
        MistakeError: the folder is not empty, is inside `.stack`, or cannot be written. Nothing was
            created.
    """
    target = Path(os.path.realpath(folder))
    if obstacle := _obstacle(target):
        raise MistakeError(
            f"no project can be made in {target}",
            expected="a new or an empty folder",
            found=obstacle,
            do="scripts/stack init DIR with another folder",
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
            project = Path(scratch) / "project"
            _copy_samples(project)
            project.replace(target)
    except OSError as error:
        raise MistakeError(
            f"no project can be made in {target}",
            expected="a folder that you may write",
            found=str(error),
            do="scripts/stack init DIR with another folder",
        ) from error
    return target


def _copy_samples(target: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", REQUIREMENTS)
    shutil.copytree(ROOT / FLOWS, target / FLOWS, ignore=ignored)
    for name in DECLARATIONS:
        shutil.copyfile(ROOT / name, target / name)
    shutil.copyfile(ROOT / FLOWS / REQUIREMENTS, target / REQUIREMENTS)
    shutil.copyfile(SAMPLES / "gitignore", target / ".gitignore")
    shutil.copyfile(SAMPLES / "pytest.ini", target / "pytest.ini")
    (target / "tests").mkdir()
    shutil.copyfile(SAMPLES / "test_flows.py", target / "tests" / "test_flows.py")


def _obstacle(target: Path) -> str | None:
    """Why a project cannot be created in `target`; None when it can."""
    if target.is_relative_to(ROOT / ".stack"):
        return "a folder inside .stack, which belongs to the stacks"
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            return "a folder that is not empty" if target.is_dir() else "a file"
    except OSError as error:
        return str(error)
    return None


def _problem(folder: Path) -> str | None:
    """What is wrong with the folder of a project; None when it can be used."""
    if folder.is_relative_to(ROOT / ".stack"):
        return f"{folder}, which is inside .stack and belongs to the stacks"
    try:
        if not folder.exists():
            return f"no folder {folder}"
        if not folder.is_dir():
            return f"{folder}, which is not a folder"
        names = {path.name for path in folder.iterdir()}
        for name in (*DECLARATIONS, FLOWS, REQUIREMENTS):
            if name not in names:
                return f"no {name} in {folder}"
        next((folder / FLOWS).iterdir(), None)
        for name in (*DECLARATIONS, REQUIREMENTS):
            (folder / name).open("rb").close()
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return None
