"""The system users that a stack of root's runs as, so that its flows are not root, nor its server.

`prefect-stack` has the database, the migration and the server, and with them the secrets of all
three. `prefect-flows` has bootstrap, the worker and the flows: it has the login to the API and
nothing else of the stack's, and may write what flows write. The supervisor stays root.

Where these users could not enter the clone or run its Python, all runs as root, and `up` and
`status` say so.
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
# Of `.env`: what only the server side may know, and needs there no longer once it was started.
KEPT = {"POSTGRES_PASSWORD", "ENCRYPTION_KEY"}
PROBE_SECONDS = 60
# Run as the user of flows, with the folder of the project as argument. What it
# prints is the problem.
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
    """Who runs what; None stands for whoever runs the supervisor."""

    stack: str | None = None
    flows: str | None = None
    warning: str | None = None  # what does not protect the machine, and what to do


def choose(layout: Layout, values: Settings) -> Accounts:
    """The users that run a stack; they are created if they do not exist yet.

    The choice is kept in `.stack/NAME/warning`, for `warning` to be read by the commands.
    """
    if os.geteuid() != 0:
        return Accounts()
    reason = _obstacle(layout, values)
    if reason:
        chosen = Accounts(warning=f"server, worker and flows run as root: {reason}")
    elif found := [
        name for name, entry in dotenv.read(ENV_FILE).items() if entry.value and name in KEPT
    ]:
        what = f"flows can read {' and '.join(found)} in {ENV_FILE}"
        chosen = Accounts(STACK, FLOWS, f"{what}; take it out, the stack has kept it")
    else:
        chosen = Accounts(STACK, FLOWS)
    if chosen.warning:
        layout.warning.write_text(chosen.warning, encoding="utf-8")
    else:
        layout.warning.unlink(missing_ok=True)
    return chosen


def warning(layout: Layout) -> str | None:
    """What the stack does not protect since its last start; None when all is well."""
    try:
        return layout.warning.read_text(encoding="utf-8")
    except OSError:
        return None


def of_flows(layout: Layout) -> str | None:
    """The user that the flows of the stack run as, for a command that does what they do."""
    if os.geteuid() != 0:
        return None
    try:
        return FLOWS if layout.data.stat().st_uid == pwd.getpwnam(FLOWS).pw_uid else None
    except (OSError, KeyError):
        return None


def settle(layout: Layout, chosen: Accounts, project: Path) -> None:
    """Give each user its folders, those of a stack that ran as root before too."""
    for folder, name in (
        (layout.secrets, chosen.stack),
        (layout.server_scratch, chosen.stack),
        (layout.scratch, chosen.flows),
        (layout.data, chosen.flows),
    ):
        if os.geteuid() == 0:
            # What `init` has just made is root's again.
            _give(folder, name, whole=folder == layout.secrets)
    if chosen.flows:
        # The users could not keep what they compile.
        for source in (ROOT / "server", ROOT / "worker", project / "flows"):
            compileall.compile_dir(source, quiet=2)


def environment(name: str | None, home: Path) -> dict[str, str]:
    """The environment variables that tell a process which user it runs as."""
    return {"USER": name, "LOGNAME": name, "HOME": str(home)} if name else {}


def make(name: str) -> None:
    """Make a system user, if there is none of that name.

    Raises:
        MistakeError: it cannot be made.
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
                f"no user {name!r}, whom the stack would run as",
                expected="a system user, or useradd to make one",
                found=str(error),
                do=f"make a user {name!r}, or run the stack as an ordinary user",
            ) from error


def open_to_all(path: Path) -> bool:
    """Whether every user can reach `path`."""
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
    if not values.remote and values.stack_port < _first_free_port():
        return f"STACK_PORT={values.stack_port} is for root only; take one from 1024 on"
    try:
        make(STACK)
        make(FLOWS)
    except MistakeError as error:
        return f"{error.what}: {error.found}"
    return _probe(python, values.project)


def _probe(python: Path, project: Path) -> str | None:
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
        said = result.stderr.strip().splitlines() or [f"{python} ends with {result.returncode}"]
        return said[-1].replace("NAME", FLOWS)
    return None


def _first_free_port() -> int:
    try:
        return int(UNPRIVILEGED_PORTS.read_text())
    except (OSError, ValueError):
        return 1024


def _give(folder: Path, name: str | None, *, whole: bool) -> None:
    """Make `name`, or root, the owner of `folder`; with a change of owner, of all that is in it.

    The folder itself comes last, so that a kill leaves nothing half done. A file with another name
    elsewhere stays who it was: whoever could write here may have linked somebody else's.
    """
    if not folder.exists():
        return
    entry = pwd.getpwnam(name) if name else pwd.getpwuid(0)
    if whole or folder.stat().st_uid != entry.pw_uid:
        for parent, folders, files in os.walk(folder, topdown=False):
            for path in (Path(parent, each) for each in (*folders, *files)):
                found = path.lstat()
                if found.st_uid != entry.pw_uid and (
                    stat.S_ISDIR(found.st_mode) or found.st_nlink == 1
                ):
                    os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    os.chown(folder, entry.pw_uid, entry.pw_gid)
