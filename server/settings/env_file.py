"""How `init` reads `.env` in Docker: itself, so that no container's configuration has secrets.

A file that is mounted keeps its owner and its mode, and one of mode 0600 is closed to the user of
the stack. So `init` starts as root without a right but to open such files and to become another
user, takes a copy, and becomes the user of the stack for good before it does anything else.
"""

from __future__ import annotations

import os
from pathlib import Path

from server.errors import MistakeError

# Where compose.yaml mounts the project's folder: a file that may be missing cannot be mounted.
PROJECT = Path("/run/stack/project")
NAME = ".env"
USER_ID = 999  # of the images, which have no other


def take(project: Path, folder: Path) -> Path:
    """Copy `.env` of `project` into `folder` as the user of the stack; the copy's path.

    There is no copy where there is no `.env`. Afterwards this process is the user of the stack.

    Raises:
        MistakeError: there is one, and it cannot be read.
    """
    content = _read(project / NAME)
    become_user()
    copy = folder / NAME
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    copy.unlink(missing_ok=True)
    if content is not None:
        descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    return copy


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            raise _unreadable(f"a link to {path.readlink()}, outside of the folder") from None
        return None
    except OSError as error:
        raise _unreadable(error.strerror or str(error)) from error


def _unreadable(found: str) -> MistakeError:
    return MistakeError(
        f"{NAME} cannot be read in Docker",
        expected="a readable file, or none, in the folder of compose.yaml",
        found=found,
        do=f"put a file {NAME} there that Docker can read (in a user namespace: chmod 644 {NAME})",
    )


def become_user() -> None:
    """Give up root, and with it every capability, where this process has it."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(USER_ID, USER_ID, USER_ID)
        os.setresuid(USER_ID, USER_ID, USER_ID)
