"""Where exports are kept, and how one gets there."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from pathlib import Path

from flows.exporting.dataset import COLUMNS, Row
from flows.exporting.output import OutputOptions
from flows.helpers.files import appearing, data_folder


def exports_folder(environ: Mapping[str, str]) -> Path:
    """The absolute path of the folder of exports: below `STACK_DATA_DIR`, else below the repo."""
    return data_folder(environ) / "exports"


def write_whole(path: Path, rows: Iterable[Row], output: OutputOptions | None = None) -> None:
    """Write `rows` to a file at `path` that looks as `output` says, making its folder.

    The file appears whole or not at all: when `rows` raises, whatever was at `path` stays.
    """
    output = output or OutputOptions()
    with appearing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=output.separator, lineterminator="\n")
        if output.header:
            writer.writerow(COLUMNS)
        writer.writerows(astuple(row) for row in rows)
