"""The service `init`, which starts first in Docker: checks the settings, creates missing secrets.

It is the only container that reads the whole `.env`, so misspelt names are reported here. It passes
to each of the others, in a volume, only what that one needs.
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

# Where compose.yaml mounts the database's volume, so that `init` can see whether it contains data.
# The image keeps the data of each major version in a separate folder.
DATABASE = Path("/var/lib/postgresql")
DATA = "*/docker/PG_VERSION"


def main() -> None:
    """Check the settings, and prepare the volumes of the other containers.

    Raises:
        MistakeError: a setting or a secret is wrong, or the disk is nearly full.
    """
    copied_env = env_file.take(env_file.PROJECT, DOCKER.scratch)
    values = settings.load(copied_env, DOCKER.root)
    shell_secrets.check(copied_env)
    refuse_loopback(values)
    disk.check(DOCKER.secrets / "database")
    data_exist = any(DATABASE.glob(DATA))
    created = secrets.ensure(values, DOCKER.secrets, data_exist=data_exist)
    for line in advice.of(values, env_file.PROJECT / env_file.NAME):
        sys.stderr.write(f"warning: {line}\n")
    sys.stdout.write(f"secrets created: {', '.join(created) or 'none, all exist already'}\n")
    declared_values.save(copied_env, DOCKER.root, DOCKER.secrets)
    remote.save(values.remote, DOCKER.secrets)
    if values.remote:
        sys.stdout.write(f"remote server: {values.remote.url}\n")


def refuse_loopback(values: Settings) -> None:
    """Refuse a remote server with a loopback address, which inside a container is the container.

    Raises:
        MistakeError: the address is one of loopback.
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
