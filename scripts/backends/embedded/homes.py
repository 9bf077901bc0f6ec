"""Where the data of a stack's PostgreSQL are, and whose, however clones are copied or moved.

Most data are in `.stack/NAME` itself. Where root's clone is closed to other users they are in a
folder under /var/lib, and the file `home` in `.stack/NAME` says which; a copy of the clone has that
file too. So each folder of data has a file `owner`, which names its `.stack/NAME` by path and
inode: a clone that is renamed keeps its inode, and no copy has it. In doubt the data are nobody's:
the stack refuses to start, and nothing is removed.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from server.errors import MistakeError

if TYPE_CHECKING:
    from scripts.backends.embedded.layout import Layout

OWNER = "owner"


class Owner(BaseModel, frozen=True):
    """The `.stack/NAME` that data belong to."""

    path: str
    device: int
    inode: int


@dataclass(frozen=True)
class Home:
    """The folder `path` for the data of one stack, made or not.

    With a `refusal`, the stack has no folder that is surely its own; `path` then holds nothing that
    another stack uses.
    """

    path: Path
    refusal: MistakeError | None = None


def find(layout: Layout, system: Path, *, closed: bool) -> Home:
    """The data of the stack of `layout`.

    Args:
        layout: the stack, made or not.
        system: the folder under /var/lib that holds the data of closed clones.
        closed: whether new data have to be made under `system`.
    """
    recorded = _recorded(layout, system)
    if recorded is None and (layout.base / "postgres").exists():
        return Home(layout.base, _closed(layout) if closed else _torn(layout))
    if recorded is None and not closed:
        return Home(layout.base)
    home = recorded or system / f"{layout.name}-{layout.id}"
    if recorded and not home.is_dir():
        return Home(layout.base, _gone(layout, home))
    if home.is_dir() and not _belongs(layout, home):
        return Home(layout.base, _foreign(layout, home))
    return Home(home)


def claim(layout: Layout, home: Path) -> None:
    """Make the folder, and write down on both sides that it belongs to this stack.

    Claimed before it is recorded: a kill between the two leaves an empty folder and no doubt.
    """
    home.mkdir(parents=True, exist_ok=True)
    replace(home / OWNER, _owner(layout.base).model_dump_json())
    if home == layout.base:
        layout.home.unlink(missing_ok=True)  # an older release wrote its absolute path
    else:
        replace(layout.home, str(home))


def _recorded(layout: Layout, system: Path) -> Path | None:
    """The folder outside of the clone that was made for this stack, or for what it is a copy of."""
    try:
        found = Path(layout.home.read_text(encoding="utf-8"))
    except OSError:
        return None
    # An older release recorded also a folder in the clone, by the path that the clone had then.
    return found if found.parent == system else None


def _torn(layout: Layout) -> MistakeError | None:
    """Why data in `.stack/NAME` cannot be used: a copy has its own, which may have been in use."""
    pid = layout.base / "postgres" / "postmaster.pid"
    if not (layout.base / OWNER).exists() or _belongs(layout, layout.base) or not pid.exists():
        return None
    return MistakeError(
        f"the data of the stack {layout.name} were copied from another clone while its PostgreSQL "
        "ran, or after it was killed: they may not fit together",
        expected="a copy of a stack that was stopped",
        found=str(pid),
        do="stop the other stack, and copy it again; or, for an empty database, scripts/stack down "
        f"--volumes, then up. If PostgreSQL was not running when it was copied: rm {pid}",
    )


def _closed(layout: Layout) -> MistakeError:
    return MistakeError(
        f"the data of the stack {layout.name} are where PostgreSQL, which does not run as root, "
        "cannot go",
        expected="a clone in a folder that every user can enter, as it was when they were made",
        found=f"{layout.base}, in a folder that is closed to others",
        do="move the clone back, for example to /opt",
    )


def _belongs(layout: Layout, home: Path) -> bool:
    """Whether `home` is surely this stack's, or was given up: an empty file says so."""
    try:
        text = (home / OWNER).read_text(encoding="utf-8")
    except FileNotFoundError:
        # An older release named the folder by the path of the clone, and wrote no owner.
        return home.name == f"{layout.name}-{layout.key}"
    except OSError:
        return False
    if not text:
        return True
    try:
        owner = Owner.model_validate_json(text)
        here = _owner(layout.base)
    except (ValidationError, OSError):
        return False
    # A device may have another number after a restart of the machine; then the path has to agree.
    return owner.inode == here.inode and (owner.device == here.device or owner.path == here.path)


def _foreign(layout: Layout, home: Path) -> MistakeError:
    try:
        owner = Owner.model_validate_json((home / OWNER).read_text(encoding="utf-8")).path
    except (OSError, ValidationError):
        owner = "another clone"
    return MistakeError(
        f"the data of the stack {layout.name} belong to another clone: this one is a copy of it, "
        "or was moved to another disk",
        expected=f"data of {layout.base}",
        found=f"{home}, the data of {owner}",
        do="for a database of its own, scripts/stack down --volumes here, which leaves the other's "
        f"alone, then up; or, if the other is gone for good, take its data over: "
        f"truncate -s 0 {home / OWNER}",
    )


def _gone(layout: Layout, home: Path) -> MistakeError:
    return MistakeError(
        f"the data of the stack {layout.name} are gone",
        expected=f"the folder {home}, which PostgreSQL's data were made in",
        found="none: it was removed, or the clone comes from another machine",
        do="put it back from a backup; or, to start anew, scripts/stack down --volumes, then up",
    )


def _owner(base: Path) -> Owner:
    status = base.stat()
    return Owner(path=str(base), device=status.st_dev, inode=status.st_ino)


def replace(path: Path, text: str) -> None:
    """Have `path` hold `text`, whole. What holds it is not written: the disk may be full."""
    with contextlib.suppress(OSError):
        if path.read_text(encoding="utf-8", errors="replace") == text:
            return
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
