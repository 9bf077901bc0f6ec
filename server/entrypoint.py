"""The entrypoint of both images: secrets from files into the environment, then `exec`.

Prefect cannot read a secret from a file, and a secret in `compose.yaml` would be in every
`docker inspect`.
"""

from __future__ import annotations

import os
import sys
from typing import cast, get_args

from server import declared_values, environment, remote, settings
from server.errors import MistakeError, exit_with
from server.place import DOCKER


def main() -> None:
    """Become the process of the role that is given as the first argument; does not return.

    Raises:
        MistakeError: no such role, or a setting or secret is missing or wrong.
        StackError: see `remote.check`.
    """
    role = cast("environment.Role", sys.argv[1] if len(sys.argv) > 1 else "")
    if role not in get_args(environment.Role):
        raise MistakeError(
            "the container was given no role of the stack",
            expected=f"one of {', '.join(get_args(environment.Role))}",
            found=repr(role),
            do="start it with `docker compose up`",
        )
    if role == "bootstrap":
        os.environ.update(declared_values.read(DOCKER.secrets))
    values = settings.load()
    if api := remote.read(DOCKER.secrets):
        values = values.using(api)
        if role == "bootstrap":  # the first that calls it
            remote.check(api)
    os.environ.update(environment.environment(role, values, DOCKER))
    argv = environment.command(role, values, DOCKER)
    os.chdir(DOCKER.root)
    os.execv(argv[0], argv)  # noqa: S606


if __name__ == "__main__":
    exit_with(main)
