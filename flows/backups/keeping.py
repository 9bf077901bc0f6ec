"""What becomes of archives once they are made."""

import shutil
from pathlib import Path

from flows.backups import archive
from flows.helpers.files import appearing


def copy(path: Path, folder: Path) -> Path:
    """A copy of the file `path` in `folder`, with the same checksum; where it is.

    It appears whole or not at all.

    Raises:
        OSError: the copy differs, or cannot be written.
    """
    with appearing(folder / path.name) as part:
        shutil.copyfile(path, part)
        if archive.checksum(part) != archive.checksum(path):
            raise OSError(f"the copy of {path} in {folder} differs from it")
    return folder / path.name


def clean(folder: Path, source: Path, keep: int) -> list[Path]:
    """Remove the archives of `source` in `folder`, but for the newest `keep`; those removed.

    Nothing else is ever removed: no file that only has such a name, no archive of another folder.

    Raises:
        ValueError: `keep` is below 1.
    """
    if keep < 1:
        raise ValueError(f"keep: expected 1 or more, found {keep}")
    old = archive.ours(folder, source)[keep:]
    for path in old:
        path.unlink(missing_ok=True)
    return old
