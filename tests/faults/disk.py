"""Small file systems that a test can fill to the last byte."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNKS = (2**20, 4096, 1)  # bytes: a large step first, then what is left


@contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[None]:
    """Mount a file system of `megabytes` at `folder`; skip the test where that is not possible."""
    folder.mkdir(parents=True, exist_ok=True)
    argv = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(folder)]
    result = subprocess.run(argv, check=False, capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f"no small file system can be mounted here: {result.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Leave no byte free on the file system of `folder` until the block ends."""
    path = folder / "filler"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        top_up(file)
        yield
    finally:
        os.close(file)
        path.unlink()


def top_up(file: int) -> None:
    """Write to `file` until its file system has no room left."""
    for size in CHUNKS:
        with contextlib.suppress(OSError):
            while True:
                os.write(file, b"\0" * size)


@contextmanager
def open_folder() -> Iterator[Path]:
    """Yield a folder that all users can enter, so that root's stack keeps its data below it."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
