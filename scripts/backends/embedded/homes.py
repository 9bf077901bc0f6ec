"""Finds the data of a stack's PostgreSQL, even if clones were copied or moved.

The data are usually in `.stack/NAME` itself. If root's clone is closed to other users, they are in
a folder under /var/lib, which the file `home` in `.stack/NAME` names; a copy of the clone has that
file too. So each folder of data has a file `owner`, which names its `.stack/NAME` by path and
inode: a renamed clone keeps the inode, and a copy has another one. If it is not certain that the
data are this stack's, the stack refuses to start, and nothing is removed.
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
    """The folder `path` for the data of one stack, whether it exists or not.

    A `refusal` says why no folder is certainly this stack's; `path` is then one that no other stack
    uses.
    """

    path: Path
    refusal: MistakeError | None = None


def find(layout: Layout, system: Path, *, closed: bool) -> Home:
    """Find the folder for the data of a stack.

    Args:
        layout: the folders of the stack, which may not exist yet.
        system: the folder under /var/lib that holds the data of closed clones.
        closed: whether the clone is closed, so that new data have to be under `system`.
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
    """Create the folder `home`, and record in it and in the clone that they belong together.

    The folder names its owner first: if a kill comes between the two, an empty folder is left over,
    and nothing that could be taken for another stack's.
    """
    home.mkdir(parents=True, exist_ok=True)
    replace(home / OWNER, _owner(layout.base).model_dump_json())
    if home == layout.base:
        layout.home.unlink(missing_ok=True)  # an older release wrote its absolute path
    else:
        replace(layout.home, str(home))


def _recorded(layout: Layout, system: Path) -> Path | None:
    """The folder outside of the clone that was created for this stack, or for its original."""
    try:
        home = Path(layout.home.read_text(encoding="utf-8"))
    except OSError:
        return None
    # An older release also recorded folders inside the clone, by the path that it had at the time.
    return home if home.parent == system else None


def _torn(layout: Layout) -> MistakeError | None:
    """The refusal of data that were copied with the clone while PostgreSQL used them, if so."""
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
    """Whether `home` is certainly this stack's, or was given up, which an empty `owner` says."""
    try:
        text = (home / OWNER).read_text(encoding="utf-8")
    except FileNotFoundError:
        # An older release wrote no owner, and named the folder after the path of the clone.
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
    # A device may get another number when the machine restarts; then the path has to be the same.
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
    """Replace the content of `path` by `text`, atomically.

    A file that holds the text already is not written, so that this works on a full disk.
    """
    with contextlib.suppress(OSError):
        if path.read_text(encoding="utf-8", errors="replace") == text:
            return
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
