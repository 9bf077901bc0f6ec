"""The entrypoint of both images: copies secrets from files to the environment, then calls `exec`.

Prefect cannot read secrets from files, and a secret in the environment of `compose.yaml` would be
visible in `docker inspect`.
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
    """Replace this process with the service that the first argument names; does not return.

    Raises:
        MistakeError: there is no such service, or a setting or secret is missing or wrong.
        StackError: the remote server does not work; see `remote.check`.
    """
    known = {service.name: service for service in services.every() if service.has_entrypoint}
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
    if not service.runs_once:  # the worker's flows inherit it, and nobody reads their reports
        os.environ.pop(REPORT_VARIABLE, None)
    argv = service.command(values, DOCKER)
    os.chdir(DOCKER.root)
    os.execv(argv[0], argv)  # noqa: S606


if __name__ == "__main__":
    os.environ[REPORT_VARIABLE] = "1"
    exit_with(main)
