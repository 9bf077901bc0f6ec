"""Where flows keep files, and files that appear whole or not at all."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

REPO_ROOT = Path(__file__).resolve().parents[2]


def data_folder(environ: Mapping[str, str]) -> Path:
    """The absolute path of what flows keep: `STACK_DATA_DIR`, else a folder below the repo."""
    return Path(environ.get("STACK_DATA_DIR") or REPO_ROOT / ".stack" / "data").resolve()


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A path to write a file to, which becomes `path` when the `with` block ends without an error.

    Makes the folder. After an error, whatever was at `path` stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name is unique because a run that was taken for lost may still be writing when its retry
    # starts; it is in the same folder because a file cannot be renamed across file systems.
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        yield part
        # Else a power cut after the rename can leave the name without the content.
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
