"""Archives of a folder: written atomically, verified by reading them back, and recognizable."""

import datetime as dt
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO
from uuid import uuid4

from flows.helpers.files import appearing

# Stands in the header of each archive. A file without it is not ours, whatever its name.
MARK = "vtasks.backup"
SUFFIX = ".tar.gz"
CHUNK = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive that has been verified by reading it back."""

    path: Path
    files: int
    bytes: int
    """Total size of the files in it, before compression."""


class Hashed(io.RawIOBase):
    """A file that computes the checksum of what is read from it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.digest.update(data)
        return data


def make(source: Path, folder: Path, now: dt.datetime) -> Archive:
    """Archive everything below `source` to a file in `folder`, with the date `now` in its name.

    The archive appears complete or not at all: only after each file in it has been read back and
    has the checksum that it had when it was added. Links are archived as links. Anything that is
    not a file, folder or link, such as a socket, is left out.

    Raises:
        ValueError: `source` is not a folder, contains no file (as when its disk is not mounted), or
            contains `folder`.
        OSError: A file cannot be read, or changes while it is read, or the disk is full.
    """
    _check(source, folder)
    name = f"{stem(source)}-{now.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}{SUFFIX}"
    with appearing(folder / name) as part:
        sums, size = _write(source, part)
        if not sums:
            raise ValueError(f"source: expected a folder with files, found none in {source}")
        if (stored := _read(part)) != sums:
            wrong = sorted(path for path in {*sums, *stored} if sums.get(path) != stored.get(path))
            raise OSError(f"{name} does not read back as it was written: {', '.join(wrong)}")
    return Archive(folder / name, len(sums), size)


def archives_of(source: Path, folder: Path) -> list[Path]:
    """Return the archives of `source` that `make` has written to `folder`, newest first."""
    pattern = re.compile(re.escape(stem(source)) + r"-\d{8}T\d{6}Z-[0-9a-f]{8}" + re.escape(SUFFIX))
    candidates = [path for path in folder.iterdir() if pattern.fullmatch(path.name)]
    return sorted((path for path in candidates if _is_ours(path, source)), reverse=True)


def stem(source: Path) -> str:
    """Return the beginning of the names of all archives of `source`."""
    return source.name or "root"


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return _digest(file)


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while data := file.read(CHUNK):
        digest.update(data)
    return digest.hexdigest()


def _check(source: Path, folder: Path) -> None:
    if not source.is_dir():
        found = "a file" if source.exists() else "nothing"
        raise ValueError(f"source: expected a folder, found {found} at {source}")
    if folder.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"backups: expected a folder outside of {source}, found {folder}")


def _write(source: Path, part: Path) -> tuple[dict[str, str], int]:
    """Write the archive; return the checksums of its files by path, and their total bytes."""
    sums: dict[str, str] = {}
    size = 0
    header = {"comment": f"{MARK} {source.resolve()}"}
    with tarfile.open(part, "w:gz", format=tarfile.PAX_FORMAT, pax_headers=header) as tar:
        for path in _below(source):
            name = path.relative_to(source).as_posix()
            member = tar.gettarinfo(path, name)
            if member.isreg() or member.islnk():
                # Store a hard link as a file of its own, so that it can be read back by itself.
                member.type, member.linkname, member.size = tarfile.REGTYPE, "", path.stat().st_size
                with path.open("rb") as file:
                    hashed = Hashed(file)
                    tar.addfile(member, hashed)
                sums[name] = hashed.digest.hexdigest()
                size += member.size
            else:
                tar.addfile(member)
    return sums, size


def _below(source: Path) -> Iterator[Path]:
    """Yield every file, folder and link below `source`, in a fixed order."""
    for parent, folders, files in os.walk(source, onerror=_raise):
        folders.sort()
        for path in (Path(parent, name) for name in sorted(folders + files)):
            if path.is_symlink() or path.is_dir() or path.is_file():
                yield path


def _raise(error: OSError) -> None:
    """Raise what `os.walk` would ignore: it silently skips a folder that it may not read."""
    raise error


def _read(path: Path) -> dict[str, str]:
    """Return the checksums of the files in an archive, by path."""
    sums = {}
    with tarfile.open(path, "r:gz") as tar:
        for member in tar:
            if member.isreg() and (file := tar.extractfile(member)):
                sums[member.name] = _digest(file)
    return sums


def _is_ours(path: Path, source: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    try:
        with tarfile.open(path, "r:gz") as tar:
            return tar.pax_headers.get("comment") == f"{MARK} {source.resolve()}"
    except (tarfile.TarError, EOFError, OSError):
        return False
