"""The system users that root's stack runs as, so that neither its server nor its flows are root.

`prefect-stack` runs the database, `migrate` and the server, and can read the secrets of all three.
`prefect-flows` runs bootstrap, the worker and the flows: of the secrets it can read only the login
to the API, and it can write only the data of flows. The supervisor stays root.

If these users cannot enter the clone or run its Python, everything but PostgreSQL runs as root, and
`up` and `status` say so.
"""

from __future__ import annotations

import compileall
import os
import pwd
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from server.errors import MistakeError
from server.settings import ENV_FILE, ROOT, dotenv

if TYPE_CHECKING:
    from scripts.backends.embedded.layout import Layout
    from server.settings import Settings

STACK = "prefect-stack"
FLOWS = "prefect-flows"
UNPRIVILEGED_PORTS = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
# Secrets of the server side that `.env` no longer needs after the first start, which has kept them.
KEPT = {"POSTGRES_PASSWORD", "ENCRYPTION_KEY"}
PROBE_SECONDS = 60
# Run as the user of flows. The arguments are the folder of the project, and the paths that this
# user must not be able to write. The last line that it prints is the problem.
PROBE = """
import os, sys
root, *written = sys.argv[1:]
os.chdir(root)
import pydantic, server.place, worker
for name in ("prefect.yaml", "stack.yaml"):
    open(name).close()
if os.path.exists(".env") and not os.access(".env", os.R_OK):  # Prefect itself reads it
    sys.exit(f"{root}/.env is closed to the user of flows; chgrp NAME .env, chmod 640 .env")
for folder, _, files in os.walk("flows"):
    for name in files:
        if not os.access(os.path.join(folder, name), os.R_OK):
            sys.exit(f"{os.path.join(root, folder, name)} cannot be read by other users; chmod o+r")
for path in (root, *written):
    if os.access(path, os.W_OK):
        sys.exit(f"{path} can be written by every user; chmod o-w")
"""


@dataclass(frozen=True)
class Accounts:
    """The users of the server side and of flows; None is the user of the supervisor."""

    stack: str | None = None
    flows: str | None = None
    warning: str | None = None  # what the stack does not protect the machine from, and what to do


def choose(layout: Layout, values: Settings) -> Accounts:
    """Return the users that run a stack, and create them if they do not exist yet.

    A warning is also written to `.stack/NAME/warning`, where the commands read it.
    """
    if os.geteuid() != 0:
        return Accounts()
    reason = _obstacle(layout, values)
    if reason:
        chosen = Accounts(warning=f"server, worker and flows run as root: {reason}")
    elif readable := [
        name for name, entry in dotenv.read(ENV_FILE).items() if entry.value and name in KEPT
    ]:
        what = f"flows can read {' and '.join(readable)} in {ENV_FILE}"
        chosen = Accounts(STACK, FLOWS, f"{what}; remove it there, since the stack has kept it")
    else:
        chosen = Accounts(STACK, FLOWS)
    if chosen.warning:
        layout.warning.write_text(chosen.warning, encoding="utf-8")
    else:
        layout.warning.unlink(missing_ok=True)
    return chosen


def warning(layout: Layout) -> str | None:
    """The warning of the stack's last start; None if there was none."""
    try:
        return layout.warning.read_text(encoding="utf-8")
    except OSError:
        return None


def of_flows(layout: Layout) -> str | None:
    """The user that flows of the stack run as, for a command that imports flows as they do.

    None is the user of the command itself.
    """
    if os.geteuid() != 0:
        return None
    try:
        return FLOWS if layout.data.stat().st_uid == pwd.getpwnam(FLOWS).pw_uid else None
    except (OSError, KeyError):
        return None


def settle(layout: Layout, chosen: Accounts, project: Path) -> None:
    """Make each user the owner of its folders, also where the stack ran as root before."""
    for folder, name in (
        (layout.secrets, chosen.stack),
        (layout.server_scratch, chosen.stack),
        (layout.scratch, chosen.flows),
        (layout.data, chosen.flows),
    ):
        if os.geteuid() == 0:
            # Root has just created missing secrets, even if the folder already has its owner.
            _give(folder, name, whole=folder == layout.secrets)
    if chosen.flows:
        # The users cannot write compiled files into these folders.
        for source in (ROOT / "server", ROOT / "worker", project / "flows"):
            compileall.compile_dir(source, quiet=2)


def environment(name: str | None, home: Path) -> dict[str, str]:
    """The variables that tell a process which user it runs as, with `home` as its home."""
    return {"USER": name, "LOGNAME": name, "HOME": str(home)} if name else {}


def make(name: str) -> None:
    """Create the system user `name` if it does not exist.

    Raises:
        MistakeError: it cannot be created.
    """
    try:
        pwd.getpwnam(name)
    except KeyError:
        argv = ["useradd", "--system", "--user-group", "--no-create-home"]
        argv += ["--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", name]
        try:
            subprocess.run(argv, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise MistakeError(
                f"the system user {name!r}, which the stack runs as, could not be created",
                expected="the user to exist, or useradd to create it",
                found=str(error),
                do=f"create a user {name!r}, or run the stack as an ordinary user",
            ) from error


def open_to_all(path: Path) -> bool:
    """Whether every user can enter the folders on the way to `path`, and `path` if it is one."""
    folders = path.parents if path.is_file() else [path, *path.parents]
    existing = [folder for folder in folders if folder.exists()]
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in existing)


def _obstacle(layout: Layout, values: Settings) -> str | None:
    """Why the users cannot run the stack, and what to do; None when they can."""
    if not (open_to_all(ROOT) and open_to_all(layout.base)):
        return f"{ROOT} is closed to other users; move the clone, for example to /opt"
    if not open_to_all(values.project):
        return f"{values.project} is closed to other users; move the project, for example to /opt"
    python = Path(sys.executable)
    if not (open_to_all(python) and open_to_all(python.resolve())):
        return (
            f"{python.resolve()} is closed to other users; install a Python for all, such as "
            "/usr/bin/python3, then rm -r .venv"
        )
    if not values.remote and values.stack_port < _first_unprivileged_port():
        return f"STACK_PORT={values.stack_port} is for root only; take one from 1024 on"
    try:
        make(STACK)
        make(FLOWS)
    except MistakeError as error:
        return f"{error.what}: {error.found}"
    return _probe(python, values.project)


def _probe(python: Path, project: Path) -> str | None:
    """What keeps the user of flows from running the stack's code; None if nothing does."""
    code = (ROOT, *(ROOT / name for name in ("server", "worker", "scripts")))
    written = [sys.prefix, *map(str, code), str(project / "flows")]
    try:
        result = subprocess.run(
            [str(python), "-P", "-c", PROBE, str(project), *written],
            check=False,
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            cwd="/",
            env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            user=FLOWS,
            group=FLOWS,
            extra_groups=[],
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"{FLOWS} cannot run {python}: {error}"
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"{python} ends with {result.returncode}"]
        return lines[-1].replace("NAME", FLOWS)
    return None


def _first_unprivileged_port() -> int:
    try:
        return int(UNPRIVILEGED_PORTS.read_text())
    except (OSError, ValueError):
        return 1024


def _give(folder: Path, name: str | None, *, whole: bool) -> None:
    """Make `name`, or root if None, the owner of `folder`, and of its content if the owner changes.

    With `whole`, the content is checked in any case. The folder itself comes last, so that the next
    start finishes what a kill has interrupted. Files with several hard links keep their owner:
    whoever could write here may have linked somebody else's file.
    """
    if not folder.exists():
        return
    entry = pwd.getpwnam(name) if name else pwd.getpwuid(0)
    if whole or folder.stat().st_uid != entry.pw_uid:
        for parent, folders, files in os.walk(folder, topdown=False):
            for path in (Path(parent, child) for child in (*folders, *files)):
                status = path.lstat()
                if status.st_uid != entry.pw_uid and (
                    stat.S_ISDIR(status.st_mode) or status.st_nlink == 1
                ):
                    os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    os.chown(folder, entry.pw_uid, entry.pw_gid)
