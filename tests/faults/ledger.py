"""What the runs themselves have written down: the only witness that no fault can touch."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Ledger:
    """How often each key was begun and ended, and the processes that began it."""

    starts: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    pids: dict[str, int] = field(default_factory=dict)


def read(path: Path) -> Ledger:
    """The ledger as it stands; a line that is still being written is not in it."""
    found = Ledger()
    for line in path.read_text().split("\n")[:-1]:
        word, key, pid = line.split()
        (found.starts if word == "start" else found.ends)[key] += 1
        found.pids[key] = int(pid)
    return found


@contextmanager
def kept() -> Iterator[Path]:
    """An empty ledger in a folder of its own that the account of any stack can write to."""
    folder = Path(tempfile.mkdtemp(prefix="ledger-"))
    folder.chmod(0o755)
    path = folder / "ledger"
    path.touch()
    path.chmod(0o666)
    try:
        yield path
    finally:
        shutil.rmtree(folder)
