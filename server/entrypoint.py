"""The entrypoint of both images: secrets from files into the environment, then `exec`.

Prefect cannot read a secret from a file, and a secret in `compose.yaml` would be in every
`docker inspect`.
"""

from __future__ import annotations

import os
import sys

from server import services, settings
from server.api import remote
from server.errors import REPORT_VARIABLE, MistakeError, exit_with
from server.place import DOCKER
from server.settings import declared_values


def main() -> None:
    """Become the process of the service that the first argument names; does not return.

    Raises:
        MistakeError: there is no such service, or a setting or secret is missing or wrong.
        StackError: see `remote.check`.
    """
    known = {each.name: each for each in services.every() if each.has_entrypoint}
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in known:
        raise MistakeError(
            "the container was not told which service it is",
            expected=f"one of {', '.join(known)}",
            found=repr(name),
            do="start it with `docker compose up`",
        )
    service = known[name]
    if service.reads_declarations:
        os.environ.update(declared_values.read(DOCKER.secrets))
    values = settings.load()
    if api := remote.read(DOCKER.secrets):
        values = values.using(api)
        if service.checks_remote_server:
            remote.check(api)
    os.environ.update(service.environment(values, DOCKER))
    if not service.runs_once:  # its flows have nobody to report an error to
        os.environ.pop(REPORT_VARIABLE, None)
    argv = service.command(values, DOCKER)
    os.chdir(DOCKER.root)
    os.execv(argv[0], argv)  # noqa: S606


if __name__ == "__main__":
    os.environ[REPORT_VARIABLE] = "1"
    exit_with(main)
