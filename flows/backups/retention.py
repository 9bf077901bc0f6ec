"""Copies archives to a second folder, and removes old ones."""

import shutil
from pathlib import Path

from flows.backups import archive
from flows.helpers.files import appearing


def copy(path: Path, folder: Path) -> Path:
    """Copy the file `path` into `folder` and compare the checksums; return the path of the copy.

    The copy appears complete or not at all.

    Raises:
        OSError: The copy differs, or cannot be written.
    """
    with appearing(folder / path.name) as part:
        shutil.copyfile(path, part)
        if archive.checksum(part) != archive.checksum(path):
            raise OSError(f"the copy of {path} in {folder} differs from it")
    return folder / path.name


def clean(folder: Path, source: Path, keep: int) -> list[Path]:
    """Remove all but the newest `keep` archives of `source` from `folder`; return those removed.

    No other file is ever removed, not even one with a matching name, or an archive of another
    source.

    Raises:
        ValueError: `keep` is below 1.
    """
    if keep < 1:
        raise ValueError(f"keep: expected 1 or more, found {keep}")
    old = archive.archives_of(source, folder)[keep:]
    for path in old:
        path.unlink(missing_ok=True)
    return old
