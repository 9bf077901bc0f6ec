"""`docker compose config`: how Compose itself reads the stack, without an engine."""

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from server.settings import ROOT

COMPOSE_FILE = ROOT / "compose.yaml"
# Where the command finds its plugins; nothing else of the machine's environment is let in.
KEPT = ("PATH", "HOME", "DOCKER_CONFIG")


@functools.cache
def missing() -> str | None:
    """Why Compose cannot be asked, or None."""
    if shutil.which("docker") is None:
        return "needs the docker command, which is not on PATH"
    version = subprocess.run(["docker", "compose", "version"], check=False, capture_output=True)
    return None if version.returncode == 0 else "needs Compose v2: `docker compose` fails"


def run(
    folder: Path,
    environment: Mapping[str, str] | None = None,
    file: Path = COMPOSE_FILE,
    form: Sequence[str] = ("--format", "json"),
) -> subprocess.CompletedProcess[str]:
    """Let Compose read `file` with the `.env` of `folder`; skips the test where there is none."""
    if reason := missing():
        pytest.skip(reason)
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    argv = ["docker", "compose", "--file", str(file), "--project-directory", str(folder)]
    return subprocess.run(
        [*argv, "config", *form],
        check=False,
        capture_output=True,
        text=True,
        env={**kept, **(environment or {})},
    )


def config(
    folder: Path, environment: Mapping[str, str] | None = None, file: Path = COMPOSE_FILE
) -> dict[str, Any]:
    """What Compose makes of `file`, which it has to take."""
    result = run(folder, environment, file)
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


def hashes(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What Compose tells by whether a service's container has to be made anew."""
    result = run(folder, environment, form=("--hash", "*"))
    assert result.returncode == 0, result.stderr
    return dict(line.split() for line in result.stdout.splitlines())
