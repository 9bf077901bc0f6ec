"""Refuses to start on a disk that is nearly full: PostgreSQL crashes when it cannot write."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from server.errors import MistakeError

if TYPE_CHECKING:
    from pathlib import Path

MIN_FREE_BYTES = 512 * 1024 * 1024
MEBIBYTE = 1024 * 1024


def check(folder: Path) -> None:
    """Check the free space on the file system of `folder`, which has to exist.

    Raises:
        MistakeError: less than `MIN_FREE_BYTES` are free.
    """
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise MistakeError(
            f"the disk that holds {folder} is nearly full",
            expected=f"{MIN_FREE_BYTES // MEBIBYTE} MiB free",
            found=f"{free // MEBIBYTE} MiB",
            do="make room (`df -h` shows where), then start the stack again",
        )
