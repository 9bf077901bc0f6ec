"""The folders of one embedded stack: all that it keeps is in `.stack/NAME`."""

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
    """Where the stack called `name` of this clone keeps its things."""

    name: str
    base: Path

    @property
    def secrets(self) -> Path:
        """See `server.secrets`."""
        return self.base / "secrets"

    @property
    def scratch(self) -> Path:
        """Prefect's home for bootstrap, worker and flows, and the worker's journal."""
        return self.base / "scratch"

    @property
    def server_scratch(self) -> Path:
        """Prefect's home for the server, and the UI's files."""
        return self.base / "scratch-server"

    @property
    def data(self) -> Path:
        """What flows write."""
        return self.base / "data"

    @property
    def logs(self) -> Path:
        """A file for each process."""
        return self.base / "logs"

    @property
    def state(self) -> Path:
        """What the supervisor says of itself and its services."""
        return self.base / "state.json"

    @property
    def lock(self) -> Path:
        """Held by the supervisor as long as it lives."""
        return self.base / "lock"

    @property
    def home(self) -> Path:
        """Says where PostgreSQL's data are, when they are outside of the clone."""
        return self.base / "home"

    @property
    def warning(self) -> Path:
        """Says what the stack does not protect the machine from; see `accounts`."""
        return self.base / "warning"

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that no other path on this machine has."""
        return hashlib.sha256(str(self.base).encode()).hexdigest()[:12]

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits drawn when the stack was made; empty before.

        A path may be used again by another clone, after this one was moved; an id is not.
        """
        try:
            return (self.base / "id").read_text(encoding="utf-8")
        except OSError:
            return ""

    @property
    def folders(self) -> tuple[Path, ...]:
        """Those that every stack has."""
        return (self.secrets, self.scratch, self.server_scratch, self.data, self.logs)

    def make(self) -> None:
        """Make the folders that are missing, closed to other users.

        Raises:
            MistakeError: they cannot be made, or the disk is nearly full.
        """
        try:
            self.base.parent.mkdir(exist_ok=True)
            self.base.parent.chmod(0o755)
            self.base.mkdir(exist_ok=True)
            # Open to be walked through: as root, PostgreSQL runs as a user of its own below it.
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
    """The layout of the stack that `settings` name, made or not."""
    return Layout(settings.stack_name, ROOT / ".stack" / settings.stack_name)


def place(layout: Layout, settings: Settings, socket: Path, worker_health_port: int = 0) -> Place:
    """The stack's addresses and folders, with PostgreSQL listening in the folder `socket`."""
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
