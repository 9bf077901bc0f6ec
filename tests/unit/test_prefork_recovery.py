"""A worker that starts reports the runs that a dead worker has left in its journal."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from prefect.states import AwaitingRetry, Cancelled, Completed, Crashed, Failed, Pending, Running

from prefect_prefork import END
from prefect_prefork.recovery import crash_recovery, reporting
from prefect_prefork.recovery.journal import Journal
from prefect_prefork.recovery.reporting import StoppedError
from prefect_prefork.recovery.state_report import StateReport
from tests.unit.run_api import LOGGER, TAKEN, Api, reporter, run_in, settle
from worker import health

if TYPE_CHECKING:
    from pathlib import Path

    from prefect.client.schemas.objects import FlowRun, State

GONE_PID = 2**22 + 1  # no process has it


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "FIRST_RETRY_SECONDS", 0)
    monkeypatch.setattr(reporting, "MAX_RETRY_SECONDS", 0)


def left_by_a_dead_worker(
    parent: Path, run: FlowRun, *, pid: int = GONE_PID, end: State[Any] | None = None
) -> Path:
    journal = Journal(parent, LOGGER)
    journal.take(run.id, "7")
    if pid:
        journal.start(run.id, pid)
    if end:
        journal.entry(run.id).write_end(StateReport.of(run.id, end))
    folder = journal.end_path(run.id).parent
    journal.close()
    return folder


def test_what_a_dead_worker_has_left_is_reported_once_the_server_is_back(tmp_path: Path) -> None:
    runs = [run_in(Running()) for _ in range(3)]
    for run in runs:
        left_by_a_dead_worker(tmp_path, run)
    api = Api(*runs, away=20)
    settle(tmp_path, api)
    assert {api.name(run) for run in runs} == {"Crashed"}
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_had_finished_when_its_worker_was_killed_is_completed(tmp_path: Path) -> None:
    run = run_in(Running())
    left_by_a_dead_worker(tmp_path, run, end=Completed())
    api = Api(run, away=3)
    settle(tmp_path, api)
    assert api.name(run) == "Completed"


def test_a_run_that_missed_its_heartbeats_while_it_could_not_report_is_completed(
    tmp_path: Path,
) -> None:
    run = run_in(Crashed())
    left_by_a_dead_worker(tmp_path, run, end=Completed())
    api = Api(run)
    settle(tmp_path, api)
    assert api.name(run) == "Completed"


@pytest.mark.parametrize("state", [Completed(), Failed(), Cancelled()])
def test_an_end_that_the_server_knows_of_stays(tmp_path: Path, state: State[Any]) -> None:
    run = run_in(state)
    left_by_a_dead_worker(tmp_path, run, end=Failed(message="late"))
    api = Api(run)
    settle(tmp_path, api)
    assert api.transitions == []


@pytest.mark.parametrize("pid", [0, GONE_PID])
def test_a_run_that_was_taken_and_never_begun_is_scheduled_again(tmp_path: Path, pid: int) -> None:
    run = run_in(Pending(message=TAKEN))
    left_by_a_dead_worker(tmp_path, run, pid=pid)
    api = Api(run, away=2)
    settle(tmp_path, api)
    assert api.name(run) == "Scheduled"


@pytest.mark.parametrize(
    ("state", "pid"),
    [
        (Pending(), "8"),  # another worker has taken it since
        (Pending(message="Taken by the worker v."), None),
        (Running(), None),
    ],
)
def test_a_run_that_another_worker_has_is_left_alone(
    tmp_path: Path, state: State[Any], pid: str | None
) -> None:
    run = run_in(state, pid)
    left_by_a_dead_worker(tmp_path, run, pid=0)
    api = Api(run)
    settle(tmp_path, api)
    assert api.transitions == []


def test_a_run_that_waited_for_its_retry_when_its_worker_was_killed_is_crashed(
    tmp_path: Path,
) -> None:
    run = run_in(AwaitingRetry(), str(GONE_PID))
    left_by_a_dead_worker(tmp_path, run)
    api = Api(run)
    settle(tmp_path, api)
    assert api.name(run) == "Crashed"


def test_what_is_no_entry_of_a_journal_is_left_alone(tmp_path: Path) -> None:
    run = run_in(Running())
    folder = left_by_a_dead_worker(tmp_path, run)
    (folder / "notes.txt").write_text("a user's")
    (folder / str(uuid4())).mkdir()
    (tmp_path / "stray").write_text("")
    (tmp_path / "folder").mkdir()
    api = Api(run)
    settle(tmp_path, api)
    assert api.name(run) == "Crashed"
    assert (folder / "notes.txt").exists()
    settle(tmp_path, api)  # as well as at the next start


@pytest.mark.parametrize(
    ("pid", "worker", "end"),
    [
        (None, None, "Crashed"),
        (str(GONE_PID), None, "Crashed"),
        (str(GONE_PID), "w", "Crashed"),
        (str(GONE_PID), "another", "Running"),
        (str(os.getpid()), "w", "Running"),
    ],
    ids=["no process", "gone", "gone, ours", "another worker's", "alive"],
)
def test_an_entry_without_its_content_is_known_by_what_the_server_says(
    tmp_path: Path, pid: str | None, worker: str | None, end: str
) -> None:
    run = run_in(Running(), pid)
    run.labels = {crash_recovery.WORKER_NAME: worker} if worker else {}
    (left_by_a_dead_worker(tmp_path, run) / str(run.id)).write_text("")
    api = Api(run)
    settle(tmp_path, api)
    assert api.name(run) == end


def test_a_run_that_was_deleted_is_forgotten(tmp_path: Path) -> None:
    left_by_a_dead_worker(tmp_path, run_in(Running()), end=Completed())
    settle(tmp_path, Api())
    assert list(tmp_path.iterdir()) == []


def test_the_worker_is_ill_when_it_cannot_report_for_a_minute(tmp_path: Path) -> None:
    run = run_in(Running())
    folder = left_by_a_dead_worker(tmp_path / "w", run, end=Completed())
    assert health.check_reports(tmp_path) is None
    then = time.time() - health.UNREPORTED_SECONDS - 1
    os.utime(folder / f"{run.id}{END}", (then, then))
    assert "the ends of 1 runs" in str(health.check_reports(tmp_path))


def test_a_worker_that_stops_leaves_what_it_could_not_report_to_its_next_start(
    tmp_path: Path,
) -> None:
    run = run_in(Running())
    api = Api(run, away=10**9)

    async def report() -> None:
        journal = Journal(tmp_path, LOGGER)
        journal.take(run.id, None)
        reports = reporter(api)
        asyncio.get_running_loop().call_soon(reports.stop)
        with pytest.raises(StoppedError):
            await reports.end(journal.entry(run.id), StateReport.of(run.id, Completed()))
        journal.close()

    asyncio.run(report())
    api.away = 0
    settle(tmp_path, api)
    assert api.name(run) == "Completed"
