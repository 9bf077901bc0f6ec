"""Writes exports to the folder where they are kept."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from pathlib import Path

from flows.exporting.dataset import COLUMNS, Row
from flows.exporting.output import OutputOptions
from flows.helpers.files import appearing, data_folder


def exports_folder(environ: Mapping[str, str]) -> Path:
    """Return the absolute path of the folder of exports, in the data folder of the stack."""
    return data_folder(environ) / "exports"


def write_whole(path: Path, rows: Iterable[Row], output: OutputOptions | None = None) -> None:
    """Write `rows` to a CSV file at `path`, in the format of `output`; create its folder.

    The file appears complete or not at all. If `rows` raises an error, a file that was at `path`
    before stays as it was.
    """
    output = output or OutputOptions()
    with appearing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=output.separator, lineterminator="\n")
        if output.header:
            writer.writerow(COLUMNS)
        writer.writerows(astuple(row) for row in rows)
