"""Creates a Python environment for each contender that is not Prefect, and caches it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from server.errors import StackError

INSTALL_SECONDS = 900
PINS = Path(__file__).with_name("contenders")


def python(name: str) -> str:
    """Return the interpreter of an environment with the packages that `contenders/NAME.txt` pins.

    Raises:
        StackError: The packages cannot be installed here.
    """
    pins = PINS / f"{name}.txt"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    content = f"{sys.version_info[:2]}{pins.read_text()}".encode()
    key = hashlib.sha256(content).hexdigest()[:8]
    folder = cache / "prefect-stack-benchmarks" / f"{name}-{key}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _install(pins, folder)
        (folder / "complete").touch()
    return str(folder / "bin" / "python")


def versions(interpreter: str, packages: list[str]) -> dict[str, str]:
    """Return the versions of `packages` in the environment of `interpreter`."""
    code = (
        "import importlib.metadata as m, json, sys;"
        "print(json.dumps({p: m.version(p) for p in sys.argv[1:]}))"
    )
    done = subprocess.run(
        [interpreter, "-c", code, *packages], check=True, capture_output=True, text=True
    )
    return dict(json.loads(done.stdout))


def _install(pins: Path, folder: Path) -> None:
    interpreter = str(folder / "bin" / "python")
    if shutil.which("uv"):
        make = ["uv", "venv", "--quiet", "--python", sys.executable, str(folder)]
        install = ["uv", "pip", "install", "--quiet", "--python", interpreter, "-r", str(pins)]
    else:
        make = [sys.executable, "-m", "venv", str(folder)]
        install = [interpreter, "-m", "pip", "install", "--quiet", "-r", str(pins)]
    for command in (make, install):
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=INSTALL_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise StackError(f"{pins.name} was not installed in {INSTALL_SECONDS} s") from None
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise StackError(f"{pins.name} cannot be installed here: {lines[-1]}")
