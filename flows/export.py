"""The flow `export`: writes rows of the sample dataset to a CSV file."""

import datetime as dt
import os
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run

from flows.exporting import dataset
from flows.exporting.dataset import Row
from flows.exporting.deadline import Deadline
from flows.exporting.files import exports_folder, write_whole
from flows.exporting.output import OutputOptions
from flows.exporting.selection import Selection
from flows.exporting.summary import summarize
from flows.helpers.tags import add_tags

PLAIN = OutputOptions()


@task(name="export.read")
def read(path: Path, deadline: Deadline) -> tuple[Row, ...]:
    """Read all rows of the dataset at `path`."""
    rows = tuple(deadline.watch(dataset.read(path)))
    get_run_logger().info("Read %d rows of %s", len(rows), path.name)
    return rows


@task(name="export.select")
def select_rows(
    rows: tuple[Row, ...],
    selection: Selection,
    deadline: Deadline,
    max_rows: int = PLAIN.max_rows,
) -> tuple[Row, ...]:
    """Return the first `max_rows` rows of `selection`; warn if there are none, or more."""
    deadline.check()
    selected = selection.of(rows)
    logger = get_run_logger()
    if not selected:
        logger.warning("Selected no rows: the file will contain none")
    elif len(selected) > max_rows:
        logger.warning("Selected %d rows, of which max_rows=%d are kept", len(selected), max_rows)
    else:
        logger.info("Selected %d rows", len(selected))
    return selected[:max_rows]


@task(name="export.write")
def write(
    rows: tuple[Row, ...], path: Path, deadline: Deadline, output: OutputOptions = PLAIN
) -> None:
    """Write `rows` to a file at `path`; leave no file if the deadline passes first."""
    write_whole(path, deadline.watch(rows), output)
    get_run_logger().info("Wrote %s", path)


@task(name="export.report")
def report(rows: tuple[Row, ...], path: Path) -> None:
    """Create a table artifact that summarizes `rows` and names their file."""
    create_table_artifact(
        key="export",
        table=[asdict(line) for line in summarize(rows)],
        description=f"{len(rows)} rows in `{path}`",
    )


@flow(name="export")
def export(  # noqa: PLR0913, PLR0917 - the parameters are the form that people fill in
    env: Literal["pre", "snd", "pro"],
    select: str | None = None,
    exclude: str | None = None,
    min_date: dt.date | None = None,
    max_date: dt.date | None = None,
    timeout_mins: int = 150,
    version: str = "latest",
    output: OutputOptions = PLAIN,
) -> str:
    """Export rows of the sample dataset to a CSV file. The run is tagged with its environment.

    The file is written to `exports` in `STACK_DATA_DIR`, or in `.stack/data` of the repository if
    that is not set. It appears complete or not at all. Its name ends with the id of the flow run,
    so that only a retry of the same run replaces it. The artifact `export` summarizes it.

    Args:
        env: Environment whose rows are exported.
        select: Tables to export, as comma-separated shell patterns such as `orders*,customers`.
            All tables when left empty.
        exclude: Tables to leave out, as comma-separated shell patterns. Wins over `select`.
        min_date: First day to export, inclusive. No lower limit when left empty.
        max_date: Last day to export, inclusive. No upper limit when left empty.
        timeout_mins: Minutes, at least 1, after which the export is given up. The time is checked
            between rows.
        version: Version of the dataset, or `latest` for the highest one.
        output: How the file looks.

    Returns:
        The absolute path of the file.

    Raises:
        ValueError: The version is not in the dataset, `min_date` is after `max_date`,
            `timeout_mins` is below 1, or a pattern in `select` matches no table.
        TimeoutError: The export took longer than `timeout_mins`. No file is left, and the run ends
            as TimedOut.
    """
    add_tags(f"env:{env}")
    deadline = Deadline.after(timeout_mins)
    selection = Selection(env, select, exclude, min_date, max_date, version)
    rows = select_rows(read(dataset.SAMPLE, deadline), selection, deadline, output.max_rows)
    path = exports_folder(os.environ) / f"{env}-{version}-{flow_run.id}.csv"
    write(rows, path, deadline, output)
    report(rows, path)
    return str(path)
