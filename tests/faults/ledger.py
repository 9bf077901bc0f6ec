"""What the runs themselves have written down, in a file that no fault can reach."""

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
    """By key: how often it was begun and ended, and the pid that wrote last."""

    starts: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    pids: dict[str, int] = field(default_factory=dict)


def read(path: Path) -> Ledger:
    """Read a ledger, without a last line that is still being written."""
    ledger = Ledger()
    for line in path.read_text().split("\n")[:-1]:
        word, key, pid = line.split()
        (ledger.starts if word == "start" else ledger.ends)[key] += 1
        ledger.pids[key] = int(pid)
    return ledger


@contextmanager
def kept() -> Iterator[Path]:
    """Yield the path of an empty ledger, which the users of every stack can write to."""
    folder = Path(tempfile.mkdtemp(prefix="ledger-"))
    folder.chmod(0o755)
    path = folder / "ledger"
    path.touch()
    path.chmod(0o666)
    try:
        yield path
    finally:
        shutil.rmtree(folder)
