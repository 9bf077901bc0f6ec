"""The files and folders of an embedded stack, in `.stack/NAME` of its clone."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server import disk
from server.errors import MistakeError
from server.place import Place
from server.settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from server.settings import Settings


@dataclass(frozen=True)
class Layout:
    """The files and folders of the stack `name`; `base` is its `.stack/NAME`."""

    name: str
    base: Path

    @property
    def secrets(self) -> Path:
        return self.base / "secrets"

    @property
    def scratch(self) -> Path:
        """The home of Prefect for bootstrap, worker and flows, and the worker's journal."""
        return self.base / "scratch"

    @property
    def server_scratch(self) -> Path:
        """The home of Prefect for the server, and the files of the UI."""
        return self.base / "scratch-server"

    @property
    def data(self) -> Path:
        """The data that flows write."""
        return self.base / "data"

    @property
    def logs(self) -> Path:
        """The folder of the logs, one file for each process."""
        return self.base / "logs"

    @property
    def state(self) -> Path:
        """The file in which the supervisor writes its state and that of its services."""
        return self.base / "state.json"

    @property
    def lock(self) -> Path:
        """The file that the supervisor locks as long as it is alive."""
        return self.base / "lock"

    @property
    def home(self) -> Path:
        """The file that names the folder of PostgreSQL's data, if that is outside of the clone."""
        return self.base / "home"

    @property
    def warning(self) -> Path:
        """The file that says what the stack does not protect the machine from; see `accounts`."""
        return self.base / "warning"

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits, unique to this path on this machine."""
        return hashlib.sha256(str(self.base).encode()).hexdigest()[:12]

    @property
    def id(self) -> str:
        """Twelve random hexadecimal digits from when the stack was created; empty before.

        Another clone may use the same path after this one was moved, but never the same id.
        """
        try:
            return (self.base / "id").read_text(encoding="utf-8")
        except OSError:
            return ""

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that every stack has."""
        return (self.secrets, self.scratch, self.server_scratch, self.data, self.logs)

    def make(self) -> None:
        """Create the missing folders, closed to other users.

        Raises:
            MistakeError: they cannot be created, the stack belongs to another user, or the disk is
                nearly full.
        """
        try:
            self.base.parent.mkdir(exist_ok=True)
            self.base.parent.chmod(0o755)
            self.base.mkdir(exist_ok=True)
            # Others may enter it, but not list it: in a stack of root's, PostgreSQL's user has to.
            self.base.chmod(0o711)
            for folder in self.folders:
                folder.mkdir(exist_ok=True, mode=0o700)
            if not self.id:
                new = self.base / "id.new"
                new.write_text(secrets.token_hex(6), encoding="utf-8")
                new.replace(self.base / "id")
            probe = self.base / "probe"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise MistakeError(
                f"the folder of the stack, {self.base}, cannot be written",
                expected="a folder that you may write",
                found=str(error),
                do="correct its owner or mode, or use a clone of your own",
            ) from error
        if os.geteuid() == 0 and (owner := self.base.stat().st_uid):
            raise MistakeError(
                f"the stack {self.name} of this clone belongs to another user",
                expected="a stack of root's",
                found=f"one of user {owner}",
                do="type it as that user",
            )
        disk.check(self.base)


def of(settings: Settings) -> Layout:
    """The layout of the stack that `settings` name, whether it exists or not."""
    return Layout(settings.stack_name, ROOT / ".stack" / settings.stack_name)


def place(layout: Layout, settings: Settings, socket: Path, worker_health_port: int = 0) -> Place:
    """The addresses and folders of the stack, with PostgreSQL's socket in the folder `socket`."""
    return Place(
        root=settings.project,
        secrets=layout.secrets,
        scratch=layout.scratch,
        data=layout.data,
        journal=layout.scratch / "journal",
        database_host=str(socket),
        listen_host=settings.stack_bind,
        listen_port=settings.stack_port,
        api_url=f"{settings.url}/api",
        worker_health_port=worker_health_port,
    )
