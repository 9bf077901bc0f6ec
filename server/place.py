"""Where the processes of a stack find things: all that differs between Docker and embedded."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

VARIABLE = "STACK_PLACE"
PATHS = ("root", "secrets", "scratch", "data", "journal")

DATABASE_NAME = "prefect"
DATABASE_USER = "prefect"
WORK_POOL = "default"


@dataclass(frozen=True)
class Place:
    """One stack's addresses and folders, as its own processes see them."""

    root: Path  # the project: holds flows/ and prefect.yaml
    secrets: Path  # see server.secrets
    scratch: Path  # what a process may lose: Prefect's home, the UI's files
    data: Path  # what flows write and must keep
    journal: Path  # the runs that the worker has, not where flows write: they may fill that
    database_host: str  # a host name, or the folder of a unix socket
    listen_host: str
    listen_port: int
    api_url: str
    worker_health_port: int

    def dump(self) -> str:
        """The place as the text that `current` reads back from the environment."""
        return json.dumps(asdict(self), default=str)


# The paths and names that compose.yaml mounts and gives; tests/unit/test_compose.py compares.
DOCKER = Place(
    root=Path("/stack"),
    secrets=Path("/run/stack/secrets"),
    scratch=Path("/tmp/stack"),  # noqa: S108 - a tmpfs of the container's own
    data=Path("/data"),
    journal=Path("/journal"),
    database_host="postgres",
    listen_host="0.0.0.0",  # noqa: S104 - inside the container; compose.yaml publishes STACK_BIND
    listen_port=4200,
    api_url="http://server:4200/api",
    worker_health_port=8080,
)


def worker_name(stack_name: str) -> str:
    """What the worker of a stack calls itself."""
    return f"{stack_name}-worker"


def current() -> Place:
    """The place of this process: the one that its supervisor gave it, else the container's."""
    text = os.environ.get(VARIABLE)
    if text is None:
        return DOCKER
    values = json.loads(text)
    paths = {name: Path(values[name]) for name in PATHS}
    return Place(**{**values, **paths})
