"""The stack's modules hide no module of a user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import importlib, json, sys
print(json.dumps([importlib.import_module(name).__file__ for name in sys.argv[1:]]))
"""


def files_of(folder: Path, python_path: list[Path], *names: str) -> list[str]:
    """Return the file of each module that an interpreter in `folder` finds on `python_path`."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, python_path))}
    command = [sys.executable, "-P", "-c", SCRIPT, *names]
    done = subprocess.run(command, env=env, cwd=folder, check=True, capture_output=True, text=True)
    files: list[str] = json.loads(done.stdout)
    return files


def test_a_users_modules_are_found_before_those_of_the_stack(tmp_path: Path) -> None:
    for name in ("flows", "scripts", "server", "worker"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "common.py").touch()  # without an __init__.py, which the stack's have
    names = ["flows.common", "scripts.common", "server.common", "worker.common"]
    expected = [str(tmp_path / f"{name.replace('.', '/')}.py") for name in names]
    assert files_of(tmp_path, [tmp_path], *names) == expected
    assert files_of(tmp_path, [ROOT, tmp_path], *names) == expected  # the path of a worker's runs


def test_the_stacks_modules_are_found_where_there_are_no_others(tmp_path: Path) -> None:
    names = ["flows.hello", "scripts.status", "server.settings.model", "worker.health"]
    expected = [str(ROOT / f"{name.replace('.', '/')}.py") for name in names]
    assert files_of(tmp_path, [], *names) == expected
    assert files_of(tmp_path, [ROOT], *names) == expected
