"""The folder for files that flows write, and files that are written atomically."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

REPO_ROOT = Path(__file__).resolve().parents[2]


def data_folder(environ: Mapping[str, str]) -> Path:
    """Return the absolute path of the folder for the files that flows write.

    That is `STACK_DATA_DIR`; where it is not set, `.stack/data` in this repository.
    """
    return Path(environ.get("STACK_DATA_DIR") or REPO_ROOT / ".stack" / "data").resolve()


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file, which is renamed to `path` when the block succeeds.

    Readers therefore see a complete file or none. The folder of `path` is created if it is missing.
    After an error the temporary file is removed, and a file that was at `path` before stays as it
    was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name is unique because a run that was believed lost may still be writing when its retry
    # starts. The file is in the same folder because a rename cannot cross file systems.
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        yield part
        # Without this, a power cut after the rename could leave the name without the content.
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
