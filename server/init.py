"""The one-shot that starts first: checks the settings and makes the secrets that are missing.

In Docker it sees every line of `.env` (Compose's `env_file`), so that a misspelt name is found here
and not by wondering; what the image itself sets is listed in `IMAGE_ENVIRONMENT`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from server import disk, remote, secrets, settings
from server.errors import MistakeError, exit_with
from server.place import DOCKER

if TYPE_CHECKING:
    from server.settings import Settings

IMAGE_ENVIRONMENT = Path("/opt/stack/image-environment")
# LC_CTYPE is Python's own doing (PEP 538), the rest Docker's.
GIVEN = {"HOSTNAME", "HOME", "PATH", "TERM", "PWD", "SHLVL", "_", "LC_CTYPE"}
PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"}


def main() -> None:
    """Check and make, or exit with 2 and one message."""
    ignore = GIVEN | PROXIES | set(IMAGE_ENVIRONMENT.read_text().split())
    given = [name for name in os.environ if name not in ignore and name.upper() not in PROXIES]
    settings.check_names(dict.fromkeys(given), ".env")
    values = settings.load(lines=os.environ)
    refuse_loopback(values)
    disk.check(DOCKER.secrets / "database")
    made = secrets.ensure(values, DOCKER.secrets)
    sys.stdout.write(f"secrets made: {', '.join(made) or 'none, all were there'}\n")
    # Not by the environment: Compose lets a variable of the shell win over a line of .env there.
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
    exit_with(main)
