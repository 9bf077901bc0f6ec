"""Where exports are kept, and how one gets there."""

import csv
import os
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from pathlib import Path
from uuid import uuid4

from flows.exporting.dataset import COLUMNS, Row
from flows.exporting.output import OutputOptions

REPO_ROOT = Path(__file__).resolve().parents[2]


def exports_folder(environ: Mapping[str, str]) -> Path:
    """The absolute path of the folder of exports: below `STACK_DATA_DIR`, else below the repo."""
    data_dir = environ.get("STACK_DATA_DIR") or REPO_ROOT / ".stack" / "data"
    return Path(data_dir).resolve() / "exports"


def write_whole(path: Path, rows: Iterable[Row], output: OutputOptions | None = None) -> None:
    """Write `rows` to a file at `path` that looks as `output` says, making its folder.

    The file appears whole or not at all: when `rows` raises, whatever was at `path` stays.
    """
    output = output or OutputOptions()
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name is unique because a run that was taken for lost may still be writing when its retry
    # starts; it is in the same folder because a file cannot be renamed across file systems.
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=output.separator, lineterminator="\n")
            if output.header:
                writer.writerow(COLUMNS)
            writer.writerows(astuple(row) for row in rows)
            # Else a power cut after the rename can leave the name without the content.
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
