"""How `init` reads `.env` in Docker.

`init` reads the file itself, so that no container's configuration contains secrets. A mounted file
keeps its owner and mode, and with mode 0600 the stack's user cannot open it. `init` therefore
starts as root, with no capabilities except to read such files and to switch users. It copies the
file, and permanently becomes the stack's user before it does anything else.
"""

from __future__ import annotations

import os
from pathlib import Path

from server.errors import MistakeError

# Where compose.yaml mounts the folder with `.env`: Docker cannot mount a file that may not exist.
PROJECT = Path("/run/stack/project")
NAME = ".env"
USER_ID = 999  # the only user that the images define


def take(project: Path, folder: Path) -> Path:
    """Copy `.env` from `project` to `folder`, and drop root privileges for good.

    Returns:
        The path of the copy, which belongs to the stack's user. It does not exist if there is no
        `.env`.

    Raises:
        MistakeError: `.env` exists but cannot be read.
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
    """Switch from root to the stack's user, which drops every capability; otherwise do nothing."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(USER_ID, USER_ID, USER_ID)
        os.setresuid(USER_ID, USER_ID, USER_ID)
