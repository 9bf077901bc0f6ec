"""Archives of a folder: made whole, read back, known again as ours."""

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

# In the header of each archive. A file without it is somebody else's, whatever its name.
MARK = "vtasks.backup"
SUFFIX = ".tar.gz"
CHUNK = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive that was read back and found to hold what was put in."""

    path: Path
    files: int
    bytes: int
    """Of the files in it, before compression."""


class Hashed(io.RawIOBase):
    """A file that knows the checksum of what was read from it."""

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
    """An archive of all files below `source`, in `folder`, with the date `now` in its name.

    It appears whole or not at all, after every file in it was read back and has the checksum that
    it had when it was put in. Links are kept as links. What is neither file, folder nor link, such
    as a socket, is left out.

    Raises:
        ValueError: `source` is no folder, holds no file (as a disk that is not mounted), or
            `folder` lies within it.
        OSError: a file cannot be read, or changes while it is, or the disk is full.
    """
    _check(source, folder)
    name = f"{stem(source)}-{now.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}{SUFFIX}"
    with appearing(folder / name) as part:
        sums, size = _write(source, part)
        if not sums:
            raise ValueError(f"source: expected a folder with files, found none in {source}")
        if (found := _read(part)) != sums:
            wrong = sorted(path for path in {*sums, *found} if sums.get(path) != found.get(path))
            raise OSError(f"{name} does not read back as it was written: {', '.join(wrong)}")
    return Archive(folder / name, len(sums), size)


def ours(folder: Path, source: Path) -> list[Path]:
    """The archives that `make` has put into `folder` for `source`, newest first."""
    pattern = re.compile(re.escape(stem(source)) + r"-\d{8}T\d{6}Z-[0-9a-f]{8}" + re.escape(SUFFIX))
    found = [path for path in folder.iterdir() if pattern.fullmatch(path.name)]
    return sorted((path for path in found if _is_ours(path, source)), reverse=True)


def stem(source: Path) -> str:
    """What the names of the archives of `source` begin with."""
    return source.name or "root"


def checksum(path: Path) -> str:
    """The SHA-256 of a file."""
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
    """Write the archive; the checksums of the files in it, and the bytes that they have."""
    sums: dict[str, str] = {}
    size = 0
    header = {"comment": f"{MARK} {source.resolve()}"}
    with tarfile.open(part, "w:gz", format=tarfile.PAX_FORMAT, pax_headers=header) as tar:
        for path in _below(source):
            name = path.relative_to(source).as_posix()
            member = tar.gettarinfo(path, name)
            if member.isreg() or member.islnk():
                # A second name of the same file is kept as a file of its own: it reads back alone.
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
    """Every file, folder and link below `source`, in a fixed order."""
    for parent, folders, files in os.walk(source, onerror=_raise):
        folders.sort()
        for path in (Path(parent, name) for name in sorted(folders + files)):
            if path.is_symlink() or path.is_dir() or path.is_file():
                yield path


def _raise(error: OSError) -> None:
    """Else a folder that may not be read would be left out without a word."""
    raise error


def _read(path: Path) -> dict[str, str]:
    """The checksums of the files in an archive."""
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
