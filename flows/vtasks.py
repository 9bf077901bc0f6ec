"""The flow `vtasks`: what one person's machine does every night, as flows of flows of tasks."""
# ruff: noqa: T201 - what is printed goes into the run log too, see log_prints

import datetime as dt
import os
from pathlib import Path
from typing import Annotated

from prefect import flow, tags, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from flows.backups import archive, keeping
from flows.expenses import ledger
from flows.expenses import report as reports
from flows.expenses.ledger import Expense
from flows.helpers.files import data_folder

SAMPLE_FOLDER = ledger.SAMPLE.parent
Keep = Annotated[int, Field(ge=1)]


@task(name="vtasks.backup.backup_files")
def backup_files(source: Path, backups: Path) -> Path:
    """An archive of `source` in `backups`, read back; where it is."""
    made = archive.make(source, backups, dt.datetime.now(dt.UTC))
    print(f"Put {made.files} files, {made.bytes} bytes, into {made.path}")
    return made.path


@task(name="vtasks.backup.copy")
def copy(path: Path, mirror: Path) -> Path:
    """A copy of an archive in `mirror`, compared with it; where it is."""
    copied = keeping.copy(path, mirror)
    print(f"Copied it to {copied}")
    return copied


@task(name="vtasks.backup.clean_backups")
def clean_backups(folder: Path, source: Path, keep: int) -> int:
    """How many archives of `source` in `folder` were too old to keep, and are removed."""
    removed = keeping.clean(folder, source, keep)
    print(f"Removed {len(removed)} old archives from {folder}")
    return len(removed)


@flow(name="vtasks.backup")
def backup(
    source: str | None = None, backups: str | None = None, mirror: str | None = None, keep: Keep = 7
) -> str:
    """Put a folder into an archive, copy that elsewhere, and keep the newest few of both.

    Args:
        source: Folder to back up, from the root. The sample data when left empty.
        backups: Folder of the archives, from the root. `backups` in the data folder of the stack
            when left empty.
        mirror: Folder of the copies, from the root; best on another disk. `mirror` in the data
            folder of the stack when left empty.
        keep: How many archives to keep in each of the two, at least 1.

    Returns:
        The path of the archive.

    Raises:
        ValueError: A folder is not as it has to be; the message says which and how.
        OSError: An archive or a copy does not read back as it was written, or the disk is full.
    """
    data = data_folder(os.environ)
    folder = _folder("source", source, SAMPLE_FOLDER)
    here = _folder("backups", backups, data / "backups")
    there = _folder("mirror", mirror, data / "mirror")
    if here.resolve() == there.resolve():
        raise ValueError(f"mirror: expected another folder than that of backups, found {there}")
    made = backup_files(folder, here)
    copy(made, there)
    # Last, so that nothing old goes before the new is known to be good.
    for each in (here, there):
        clean_backups(each, folder, keep)
    return str(made)


@task(name="vtasks.expensor.read")
def read(path: Path, month: dt.date | None) -> tuple[Expense, ...]:
    """The expenses of a month in the file at `path`."""
    found = ledger.month_of(ledger.read(path), month)
    print(f"Read {len(found)} expenses of {found[0].date:%Y-%m} in {path}")
    return found


@task(name="vtasks.expensor.report")
def report(expenses: tuple[Expense, ...]) -> None:
    """An artifact that says where the money went, with a chart."""
    create_markdown_artifact(reports.markdown(expenses), key="expenses")


@flow(name="vtasks.expensor")
def expensor(expenses: str | None = None, month: dt.date | None = None) -> str:
    """Report a month's expenses, as a page with a chart: the artifact `expenses`.

    Args:
        expenses: CSV file, from the root, with the columns date, category, description, amount.
            The sample data when left empty.
        month: Any day of the month to report. The last month in the file when left empty.

    Returns:
        What was spent, in EUR.

    Raises:
        ValueError: The file is not as it has to be, or has nothing of that month.
    """
    found = read(_folder("expenses", expenses, ledger.SAMPLE), month)
    report(found)
    return str(sum(reports.totals(found).values()))


@flow(name="vtasks", log_prints=True)
def vtasks(  # noqa: PLR0913, PLR0917 - the parameters are the form that people fill in
    source: str | None = None,
    backups: str | None = None,
    mirror: str | None = None,
    keep: Keep = 7,
    expenses: str | None = None,
    month: dt.date | None = None,
) -> State[str]:
    """Back up a folder and report a month's expenses. If one fails, the other is done all the same.

    Args:
        source: Folder to back up, from the root. The sample data when left empty.
        backups: Folder of the archives, from the root. `backups` in the data folder of the stack
            when left empty.
        mirror: Folder of the copies, from the root; best on another disk. `mirror` in the data
            folder of the stack when left empty.
        keep: How many archives to keep in each of the two, at least 1.
        expenses: CSV file, from the root, with the columns date, category, description, amount.
            The sample data when left empty.
        month: Any day of the month to report. The last month in the file when left empty.
    """
    with tags("type:vtasks"):
        states = {
            backup.name: backup(source, backups, mirror, keep, return_state=True),
            expensor.name: expensor(expenses, month, return_state=True),
        }
    for name, state in states.items():
        print(f"{name}: {state.message or state.name}")
    failed = {name: state for name, state in states.items() if not state.is_completed()}
    if failed:
        return Failed(message="; ".join(f"{name}: {failed[name].message}" for name in failed))
    return Completed()


def _folder(name: str, given: str | None, default: Path) -> Path:
    path = Path(given) if given else default
    if not path.is_absolute():
        raise ValueError(f"{name}: expected a path from the root, as in /data/{path}; found {path}")
    return path
