"""The flow `vtasks`: the nightly chores of one person's machine, as subflows with tasks."""
# ruff: noqa: T201 - printed text goes to the run log, see log_prints

import datetime as dt
import os
from pathlib import Path
from typing import Annotated

from prefect import flow, tags, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from flows.backups import archive, retention
from flows.expenses import ledger
from flows.expenses import report as reports
from flows.expenses.ledger import Expense
from flows.helpers.files import data_folder

SAMPLE_FOLDER = ledger.SAMPLE.parent
Keep = Annotated[int, Field(ge=1)]


@task(name="vtasks.backup.backup_files")
def backup_files(source: Path, backups: Path) -> Path:
    """Archive `source` to a verified file in `backups`; return its path."""
    backup = archive.make(source, backups, dt.datetime.now(dt.UTC))
    print(f"Put {backup.files} files, {backup.bytes} bytes, into {backup.path}")
    return backup.path


@task(name="vtasks.backup.copy")
def copy(path: Path, mirror: Path) -> Path:
    """Copy an archive to `mirror` and compare the two; return the path of the copy."""
    copied = retention.copy(path, mirror)
    print(f"Copied it to {copied}")
    return copied


@task(name="vtasks.backup.clean_backups")
def clean_backups(folder: Path, source: Path, keep: int) -> int:
    """Remove all but the newest `keep` archives of `source` from `folder`; return how many."""
    removed = retention.clean(folder, source, keep)
    print(f"Removed {len(removed)} old archives from {folder}")
    return len(removed)


@flow(name="vtasks.backup")
def backup(
    source: str | None = None, backups: str | None = None, mirror: str | None = None, keep: Keep = 7
) -> str:
    """Archive a folder, copy the archive elsewhere, and keep the newest few of both.

    Args:
        source: Folder to back up, as an absolute path. The sample data when left empty.
        backups: Folder for the archives, as an absolute path. `backups` in the data folder of the
            stack when left empty.
        mirror: Folder for the copies, as an absolute path, best on another disk. `mirror` in the
            data folder of the stack when left empty.
        keep: Number of archives to keep in each of the two folders, at least 1.

    Returns:
        The path of the archive.

    Raises:
        ValueError: A folder is invalid; the message says which, and what is expected.
        OSError: An archive or a copy does not read back as it was written, or the disk is full.
    """
    data = data_folder(os.environ)
    folder = _absolute("source", source, SAMPLE_FOLDER)
    here = _absolute("backups", backups, data / "backups")
    there = _absolute("mirror", mirror, data / "mirror")
    if here.resolve() == there.resolve():
        raise ValueError(f"mirror: expected another folder than that of backups, found {there}")
    path = backup_files(folder, here)
    copy(path, there)
    # Remove old archives only now that the new one is known to be good.
    for place in (here, there):
        clean_backups(place, folder, keep)
    return str(path)


@task(name="vtasks.expensor.read")
def read(path: Path, month: dt.date | None) -> tuple[Expense, ...]:
    """Read the expenses of a month from the file at `path`."""
    expenses = ledger.month_of(ledger.read(path), month)
    print(f"Read {len(expenses)} expenses of {expenses[0].date:%Y-%m} in {path}")
    return expenses


@task(name="vtasks.expensor.report")
def report(expenses: tuple[Expense, ...]) -> None:
    """Create an artifact that shows where the money went, with a chart."""
    create_markdown_artifact(reports.markdown(expenses), key="expenses")


@flow(name="vtasks.expensor")
def expensor(expenses: str | None = None, month: dt.date | None = None) -> str:
    """Report a month's expenses with a chart, in the artifact `expenses`.

    Args:
        expenses: CSV file, as an absolute path, with the columns date, category, description and
            amount. The sample data when left empty.
        month: Any day of the month to report on. The last month in the file when left empty.

    Returns:
        The amount spent, in EUR.

    Raises:
        ValueError: The file is invalid, or has no expenses in that month.
    """
    spent = read(_absolute("expenses", expenses, ledger.SAMPLE), month)
    report(spent)
    return str(sum(reports.totals(spent).values()))


@flow(name="vtasks", log_prints=True)
def vtasks(  # noqa: PLR0913, PLR0917 - the parameters are the form that people fill in
    source: str | None = None,
    backups: str | None = None,
    mirror: str | None = None,
    keep: Keep = 7,
    expenses: str | None = None,
    month: dt.date | None = None,
) -> State[str]:
    """Back up a folder and report a month's expenses. If one part fails, the other still runs.

    Args:
        source: Folder to back up, as an absolute path. The sample data when left empty.
        backups: Folder for the archives, as an absolute path. `backups` in the data folder of the
            stack when left empty.
        mirror: Folder for the copies, as an absolute path, best on another disk. `mirror` in the
            data folder of the stack when left empty.
        keep: Number of archives to keep in each of the two folders, at least 1.
        expenses: CSV file, as an absolute path, with the columns date, category, description and
            amount. The sample data when left empty.
        month: Any day of the month to report on. The last month in the file when left empty.
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


def _absolute(name: str, given: str | None, default: Path) -> Path:
    path = Path(given) if given else default
    if not path.is_absolute():
        raise ValueError(f"{name}: expected an absolute path such as /data/{path}; found {path}")
    return path
