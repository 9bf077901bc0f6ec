"""The addresses and folders of a stack: everything that differs between Docker and embedded."""

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
    """The addresses and folders of one stack, as its own processes see them."""

    root: Path  # the project, which contains flows/ and prefect.yaml
    secrets: Path  # see server.secrets
    scratch: Path  # files that may be lost: Prefect's home, the UI's static files
    data: Path  # files that flows write and that must be kept
    journal: Path  # the worker's record of its runs, apart from `data`, which flows may fill up
    database_host: str  # a host name, or the folder of a unix socket
    listen_host: str
    listen_port: int
    api_url: str
    worker_health_port: int

    def dump(self) -> str:
        """The place as JSON, for the environment variable that `current` reads."""
        return json.dumps(asdict(self), default=str)


# The paths and host names of compose.yaml; tests/unit/test_compose.py checks that they match.
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
    """The name under which the worker of a stack appears on the server."""
    return f"{stack_name}-worker"


def current() -> Place:
    """The place of this process: the one that the supervisor passed to it, otherwise `DOCKER`."""
    text = os.environ.get(VARIABLE)
    if text is None:
        return DOCKER
    values = json.loads(text)
    paths = {name: Path(values[name]) for name in PATHS}
    return Place(**{**values, **paths})
