"""The worker reports how a run's process ended, and keeps on while the server is away."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

import httpx
import pytest
from prefect.states import Pending, Running

from prefect_prefork.recovery import reporting
from prefect_prefork.recovery.journal import Journal
from prefect_prefork.recovery.reporting import Attempt, Proposer
from prefect_prefork.recovery.state_report import NOT_BEGUN, is_transient
from prefect_prefork.runs.template_process import TemplateError
from tests.unit.run_api import LOGGER, TAKEN, Api, reporter, run_in

if TYPE_CHECKING:
    from pathlib import Path

    from prefect.client.schemas.objects import FlowRun


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "FIRST_RETRY_SECONDS", 0)
    monkeypatch.setattr(reporting, "MAX_RETRY_SECONDS", 0)


def attempt(run: FlowRun, code: int | None, error: Exception | None = None) -> Attempt:
    ended = Attempt(run.id)
    if code is not None:
        ended.handle = type("Handle", (), {"returncode": code})()
    ended.error = error
    return ended


def report_crash(tmp_path: Path, api: Api, run: FlowRun, ended: Attempt) -> None:
    """Do what Prefect's executor does when a process has not ended well."""

    async def propose() -> None:
        journal = Journal(tmp_path, LOGGER)
        journal.take(run.id, None)
        proposer = Proposer(api, reporter(api), journal)  # type: ignore[arg-type]
        proposer.watch(ended)
        await proposer.propose_crashed(run, "Process exited.")
        journal.close()

    asyncio.run(propose())


@pytest.mark.parametrize(
    ("code", "error", "then"),
    [
        (-9, None, "Scheduled"),
        (NOT_BEGUN, None, "Scheduled"),
        (1, None, "Crashed"),
        (None, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "Scheduled"),
        (None, TemplateError("hangs"), "Scheduled"),
        (None, FileNotFoundError(errno.ENOENT, "no such command"), "Crashed"),
    ],
)
def test_a_run_that_could_not_begin_is_given_back_where_a_second_try_may_do_better(
    tmp_path: Path, code: int | None, error: Exception | None, then: str
) -> None:
    run = run_in(Pending(message=TAKEN))
    api = Api(run)
    report_crash(tmp_path, api, run, attempt(run, code, error))
    assert api.name(run) == then


def test_a_run_that_was_killed_while_it_worked_is_crashed_also_when_the_server_is_away(
    tmp_path: Path,
) -> None:
    run = run_in(Running())
    api = Api(run, away=5)
    report_crash(tmp_path, api, run, attempt(run, -9))
    assert api.name(run) == "Crashed"
    assert len(set(api.transitions)) == 1


def test_the_message_of_a_crash_is_what_the_process_has_said(tmp_path: Path) -> None:
    run = run_in(Pending(message=TAKEN))
    api = Api(run)
    ended = attempt(run, 1)
    ended.problem = "SyntaxError in flows/x.py, line 1"
    report_crash(tmp_path, api, run, ended)
    state = api.runs[run.id].state
    assert state
    assert state.message == ended.problem


def test_a_run_that_can_never_begin_is_crashed_after_some_tries(tmp_path: Path) -> None:
    run = run_in(Pending(message=TAKEN))
    api = Api(run)

    async def give_back_until_it_ends() -> int:
        journal = Journal(tmp_path, LOGGER)
        reports = reporter(api)
        times = 0
        while api.name(run) != "Crashed":
            run.state = Pending(message=TAKEN)
            journal.take(run.id, None)
            await reports.give_back(journal.entry(run.id), reporting.SERVER_AWAY)
            times += 1
        journal.close()
        return times

    assert asyncio.run(give_back_until_it_ends()) == reporting.SERVER_AWAY.most + 1


@pytest.mark.parametrize(("status", "later"), [(503, True), (500, True), (401, True), (422, False)])
def test_an_error_passes_or_it_lasts(status: int, later: bool) -> None:  # noqa: FBT001
    request = httpx.Request("POST", "http://x")
    response = httpx.Response(status, request=request)
    assert is_transient(httpx.HTTPStatusError("x", request=request, response=response)) is later
    assert is_transient(httpx.ReadTimeout("x"))
    assert not is_transient(ValueError("x"))
