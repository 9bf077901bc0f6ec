"""The one-shot that starts first in Docker: checks the settings, makes what secrets are missing.

Of the containers it alone sees `.env`, whole, so that a misspelt name is found here and not by
wondering; it gives each of the others what it needs, in a volume.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from server import advice, disk, secrets, settings
from server.api import remote
from server.errors import REPORT_VARIABLE, MistakeError, exit_with
from server.place import DOCKER
from server.settings import declared_values, env_file, shell_secrets

if TYPE_CHECKING:
    from server.settings import Settings

# Where compose.yaml mounts the database's volume, for nothing but to see whether it holds data; the
# image keeps those of each major version in a folder of its own.
DATABASE = Path("/var/lib/postgresql")
DATA = "*/docker/PG_VERSION"


def main() -> None:
    """Check and make, or exit with 2 and one message."""
    given = env_file.take(env_file.PROJECT, DOCKER.scratch)
    values = settings.load(given, DOCKER.root)
    shell_secrets.check(given)
    refuse_loopback(values)
    disk.check(DOCKER.secrets / "database")
    data_exist = any(DATABASE.glob(DATA))
    made = secrets.ensure(values, DOCKER.secrets, data_exist=data_exist)
    for line in advice.of(values, env_file.PROJECT / env_file.NAME):
        sys.stderr.write(f"warning: {line}\n")
    sys.stdout.write(f"secrets made: {', '.join(made) or 'none, all were there'}\n")
    declared_values.save(given, DOCKER.root, DOCKER.secrets)
    remote.save(values.remote, DOCKER.secrets)
    if values.remote:
        sys.stdout.write(f"remote server: {values.remote.url}\n")


def refuse_loopback(values: Settings) -> None:
    """Refuse a remote server that a container takes for itself.

    Raises:
        MistakeError: its address is one of loopback.
    """
    host = urlsplit(values.remote.url).hostname if values.remote else None
    if host and (host in {"localhost", "::1"} or host.startswith("127.")):
        raise MistakeError(
            "PREFECT_API_URL in .env names this very container",
            expected="an address that containers reach",
            found=host,
            do="write the name or the address of the machine that the server runs on, and have the "
            "server listen there; or use it without Docker: scripts/stack up --embedded",
        )


if __name__ == "__main__":
    os.environ[REPORT_VARIABLE] = "1"
    exit_with(main)
