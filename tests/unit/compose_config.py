"""Asks `docker compose config` how Compose reads the stack, for which no engine is needed.

`facts` and `described` return the same for a service: read by Compose, and said by its module.
"""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from server.place import DOCKER
from server.service import Image, Service
from server.settings import ROOT, Settings

COMPOSE_FILE = ROOT / "compose.yaml"
# These tell the command where its plugins are. It gets no other variable of the machine.
KEPT = ("PATH", "HOME", "DOCKER_CONFIG")
COMPLETED = "service_completed_successfully"
# How Compose writes what a service waits for. "ended" becomes the success of a service that is not
# required, since Compose has no better words for it; `up` goes on when that service fails.
CONDITIONS = {
    "healthy": ("service_healthy", True),
    "done": (COMPLETED, True),
    "ended": (COMPLETED, False),
}
IMAGES: dict[Image, str] = {
    "postgres": Settings.model_fields["postgres_image"].default,
    "server": Settings.model_fields["server_image"].default,
    "worker": Settings.model_fields["worker_image"].default,
}
PROGRAM = ["python", "-m"]  # in an image; sys.executable elsewhere


@functools.cache
def missing() -> str | None:
    """Return why Compose cannot be asked; None where it can."""
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
    """Have Compose read `file` with the `.env` of `folder`; skip the test where it is missing."""
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
    """Return the configuration that Compose reads from `file`, which it has to accept."""
    result = run(folder, environment, file)
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


def hashes(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the hash of each service; Compose recreates a container when its hash has changed."""
    result = run(folder, environment, form=("--hash", "*"))
    assert result.returncode == 0, result.stderr
    return dict(line.split() for line in result.stdout.splitlines())


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The configuration of a stack without an `.env`."""
    return config(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def services(shipped: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The services of a stack without an `.env`, by name."""
    return dict(shipped["services"])


def facts(service: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Compose has read about a service, as far as its module says the same."""
    waits = service.get("depends_on", {})
    mounts = [it for it in service.get("volumes", ()) if it["source"].startswith("secret-")]
    test = service.get("healthcheck", {}).get("test")
    networks = [] if service.get("network_mode") == "none" else service["networks"]
    return {
        "image": service["image"],
        "entrypoint": service["entrypoint"],
        "command": service["command"],
        "environment": {
            n: v for n, v in service["environment"].items() if n.startswith("POSTGRES")
        },
        "secrets": {it["source"].removeprefix("secret-") for it in mounts},
        "networks": set(networks),
        "waits for": {n: (it["condition"], it["required"]) for n, it in waits.items()},
        "runs once": service["restart"] == "no",
        "health": test[1:] if test else None,
        "stop signal": service.get("stop_signal", "SIGTERM"),
        "grace seconds": _seconds(service["stop_grace_period"]),
    }


def described(service: Service) -> dict[str, Any]:
    """Return what the module of a service says about it, in the form of `facts`."""
    settings = Settings.model_construct()
    own = service.command(settings, DOCKER) if not service.has_entrypoint else []
    program = [*PROGRAM, *own[2:]] if own[1:2] == ["-m"] else None
    return {
        "image": IMAGES[service.image],
        "entrypoint": program,
        "command": [service.name] if service.has_entrypoint else None if program else own,
        "environment": {} if service.has_entrypoint else service.environment(settings, DOCKER),
        "secrets": set(service.secrets),
        "networks": set(service.networks),
        "waits for": {name: CONDITIONS[how] for name, how in service.waits_for.items()},
        "runs once": service.runs_once,
        "health": list(service.health.command) if service.health else None,
        "stop signal": signal.Signals(service.stop_signal).name,
        "grace seconds": service.grace_seconds,
    }


def _seconds(duration: str) -> int:
    """Return the seconds of a duration as Compose writes it, such as 1m0s."""
    parts = re.fullmatch(r"(?:(\d+)m)?(\d+)s", duration)
    assert parts, duration
    return 60 * int(parts[1] or 0) + int(parts[2])
