"""The one-shot that starts first: checks the settings and makes the secrets that are missing.

In Docker it sees every line of `.env` (Compose's `env_file`), so that a misspelt name is found here
and not by wondering; what the image itself sets is listed in `IMAGE_ENVIRONMENT`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from server import disk, secrets, settings
from server.errors import exit_with
from server.place import DOCKER

IMAGE_ENVIRONMENT = Path("/opt/stack/image-environment")
# LC_CTYPE is Python's own doing (PEP 538), the rest Docker's.
GIVEN = {"HOSTNAME", "HOME", "PATH", "TERM", "PWD", "SHLVL", "_", "LC_CTYPE"}
PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"}


def main() -> None:
    """Check and make, or exit with 2 and one message."""
    ignore = GIVEN | PROXIES | set(IMAGE_ENVIRONMENT.read_text().split())
    given = [name for name in os.environ if name not in ignore and name.upper() not in PROXIES]
    settings.check_names(dict.fromkeys(given), ".env")
    values = settings.load()
    disk.check(DOCKER.secrets / "database")
    made = secrets.ensure(values, DOCKER.secrets)
    sys.stdout.write(f"secrets made: {', '.join(made) or 'none, all were there'}\n")


if __name__ == "__main__":
    exit_with(main)
