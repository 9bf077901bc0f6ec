"""Separate Python environments for the frameworks of existing jobs, cached between test runs."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

INSTALL_SECONDS = 300


def python_with(requirement: str) -> Path:
    """Return the interpreter of an environment with `requirement`, such as `luigi==3.8.1`.

    Skips the test, with the reason, if it cannot be installed within `INSTALL_SECONDS`.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = f"py{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache / "prefect-stack-tests" / f"{requirement.replace('==', '-')}-{version}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{folder}.lock").open("w") as lock:  # tests may run in parallel
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _install(requirement, folder)
            (folder / "complete").touch()
    return folder / "bin" / "python"


def _install(requirement: str, folder: Path) -> None:
    python = str(folder / "bin" / "python")
    if shutil.which("uv"):
        make = ["uv", "venv", "--quiet", "--python", sys.executable, str(folder)]
        install = ["uv", "pip", "install", "--quiet", "--python", python, requirement]
    else:
        make = [sys.executable, "-m", "venv", str(folder)]
        install = [python, "-m", "pip", "install", "--quiet", requirement]
    for command in (make, install):
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=INSTALL_SECONDS
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"{requirement} was not installed within {INSTALL_SECONDS} s")
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["no reason given"]
            pytest.skip(f"{requirement} cannot be installed here: {said[-1]}")
