"""`docker compose config`: how Compose itself reads the stack, without an engine.

`facts` and `described` say the same of a service: by Compose, and by its module.
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
# Where the command finds its plugins; nothing else of the machine's environment is let in.
KEPT = ("PATH", "HOME", "DOCKER_CONFIG")
COMPLETED = "service_completed_successfully"
# How Compose says what a service waits for. `ended` is the success of one that may be missing: that
# is all that Compose can say, and `up` goes on when it fails.
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


def facts(service: Mapping[str, Any]) -> dict[str, Any]:
    """What Compose has read of one service that its module says too."""
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
    """What the module of a service says of it, as `facts` puts it."""
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
    """A duration as Compose writes it, such as 1m0s."""
    found = re.fullmatch(r"(?:(\d+)m)?(\d+)s", duration)
    assert found, duration
    return 60 * int(found[1] or 0) + int(found[2])
