"""What a run has come to is told to the server, whatever was away when it did."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.schemas import OrchestrationResult
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import Abort, ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import (
    AwaitingRetry,
    Cancelled,
    Completed,
    Crashed,
    Failed,
    Pending,
    Running,
    Scheduled,
)

from prefect_prefork import END
from prefect_prefork.forked.proposals import VARIABLE, Proposals
from prefect_prefork.recovery import crash_recovery, reporting
from prefect_prefork.recovery.journal import Journal
from prefect_prefork.recovery.reporting import Attempt, Proposer, Reporter, StoppedError
from prefect_prefork.recovery.state_report import NOT_BEGUN, StateReport, is_transient
from prefect_prefork.runs.template_process import TemplateError
from worker import health

if TYPE_CHECKING:
    from pathlib import Path

LOGGER = logging.getLogger(__name__)
TAKEN = "Taken by the worker w."
AWAY = httpx.ConnectError("on purpose")
GONE_PID = 2**22 + 1  # no process has it


class Api:
    """What a worker asks of the API about its runs, which may be away for some calls."""

    def __init__(self, *runs: FlowRun, away: int = 0) -> None:
        self.runs = {each.id: each for each in runs}
        self.away = away
        self.transitions: list[str] = []

    async def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        self._answer()
        if flow_run_id not in self.runs:
            raise ObjectNotFound(http_exc=AWAY)
        return self.runs[flow_run_id]

    async def set_flow_run_state(
        self,
        flow_run_id: UUID,
        state: State[Any],
        force: bool = False,  # noqa: FBT001, FBT002 - as Prefect's
    ) -> OrchestrationResult[Any]:
        end = StateReport.of(flow_run_id, state, force=force)
        return await self._set(flow_run_id, end.state)

    async def request(
        self, _method: str, _path: str, *, path_params: dict[str, UUID], json: Any
    ) -> httpx.Response:
        result = await self._set(path_params["id"], json["state"])
        return httpx.Response(200, content=result.model_dump_json())

    async def _set(self, flow_run_id: UUID, state: dict[str, Any]) -> OrchestrationResult[Any]:
        self._answer()
        if flow_run_id not in self.runs:
            raise ObjectNotFound(http_exc=AWAY)
        self.transitions.append(state["state_details"]["transition_id"])
        names = {"type": state["type"], "name": state["name"], "message": state["message"]}
        self.runs[flow_run_id].state = State.model_validate(names)
        result = {"state": names, "status": "ACCEPT", "details": {"type": "accept_details"}}
        return OrchestrationResult.model_validate(result)

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise AWAY

    def name(self, run: FlowRun) -> str | None:
        state = self.runs[run.id].state
        return state.name if state else None


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "FIRST_RETRY_SECONDS", 0)
    monkeypatch.setattr(reporting, "MAX_RETRY_SECONDS", 0)


def run_in(state: State[Any], pid: str | None = None) -> FlowRun:
    return FlowRun(id=uuid4(), flow_id=uuid4(), state=state, infrastructure_pid=pid)


def reporter(api: Api) -> Reporter:
    return Reporter(api, "w", LOGGER)  # type: ignore[arg-type]


def settle(parent: Path, api: Api) -> None:
    """Start a worker, and let it look after what dead ones have left."""

    async def start() -> None:
        journal = Journal(parent, LOGGER)
        await crash_recovery.settle(journal, api, reporter(api), LOGGER)  # type: ignore[arg-type]
        journal.close()

    asyncio.run(start())


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
    for each in runs:
        left_by_a_dead_worker(tmp_path, each)
    api = Api(*runs, away=20)
    settle(tmp_path, api)
    assert {api.name(each) for each in runs} == {"Crashed"}
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
    settle(tmp_path, api)  # and so once more


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


def attempt(run: FlowRun, code: int | None, error: Exception | None = None) -> Attempt:
    made = Attempt(run.id)
    if code is not None:
        made.handle = type("Handle", (), {"returncode": code})()
    made.error = error
    return made


def report_crash(tmp_path: Path, api: Api, run: FlowRun, made: Attempt) -> None:
    """Do what Prefect's executor does when a process has not ended well."""

    async def propose() -> None:
        journal = Journal(tmp_path, LOGGER)
        journal.take(run.id, None)
        proposer = Proposer(api, reporter(api), journal)  # type: ignore[arg-type]
        proposer.watch(made)
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
    made = attempt(run, 1)
    made.problem = "SyntaxError in flows/x.py, line 1"
    report_crash(tmp_path, api, run, made)
    state = api.runs[run.id].state
    assert state
    assert state.message == made.problem


def test_a_run_that_can_never_begin_is_crashed_after_some_tries(tmp_path: Path) -> None:
    run = run_in(Pending(message=TAKEN))
    api = Api(run)

    async def give_back_until_it_ends() -> int:
        journal = Journal(tmp_path, LOGGER)
        made = reporter(api)
        times = 0
        while api.name(run) != "Crashed":
            run.state = Pending(message=TAKEN)
            journal.take(run.id, None)
            await made.give_back(journal.entry(run.id), reporting.SERVER_AWAY)
            times += 1
        journal.close()
        return times

    assert asyncio.run(give_back_until_it_ends()) == reporting.SERVER_AWAY.most + 1


def test_a_worker_that_stops_leaves_what_it_could_not_report_to_its_next_start(
    tmp_path: Path,
) -> None:
    run = run_in(Running())
    api = Api(run, away=10**9)

    async def report() -> None:
        journal = Journal(tmp_path, LOGGER)
        journal.take(run.id, None)
        made = reporter(api)
        asyncio.get_running_loop().call_soon(made.stop)
        with pytest.raises(StoppedError):
            await made.end(journal.entry(run.id), StateReport.of(run.id, Completed()))
        journal.close()

    asyncio.run(report())
    api.away = 0
    settle(tmp_path, api)
    assert api.name(run) == "Completed"


@pytest.mark.parametrize(("status", "later"), [(503, True), (500, True), (401, True), (422, False)])
def test_an_error_passes_or_it_lasts(status: int, later: bool) -> None:  # noqa: FBT001
    request = httpx.Request("POST", "http://x")
    response = httpx.Response(status, request=request)
    assert is_transient(httpx.HTTPStatusError("x", request=request, response=response)) is later
    assert is_transient(httpx.ReadTimeout("x"))
    assert not is_transient(ValueError("x"))


def proposals(path: Path, run: FlowRun) -> Proposals:
    return Proposals(run.id, {VARIABLE: str(path)}, LOGGER)


def test_a_run_whose_end_the_server_does_not_take_ends_all_the_same(tmp_path: Path) -> None:
    run, path = run_in(Running()), tmp_path / "end"

    def propose(*_: Any, **__: Any) -> State[Any]:
        assert StateReport.read(path)  # before all else: the process may be killed while it reports
        raise AWAY

    state: State[Any] = Completed(message="done")
    assert proposals(path, run)._propose(propose, None, state, run.id) is state  # noqa: SLF001
    left = StateReport.read(path)
    assert left
    assert (left.type, left.state["message"]) == ("COMPLETED", "done")


def test_a_run_whose_end_is_taken_leaves_nothing(tmp_path: Path) -> None:
    run, path = run_in(Running()), tmp_path / "end"
    made = proposals(path, run)
    retry: State[Any] = Scheduled()
    assert made._propose(lambda *_, **__: retry, None, Failed(), run.id) is retry  # noqa: SLF001
    assert not path.exists()

    def refuse(*_: Any, **__: Any) -> State[Any]:
        raise Abort("it has ended otherwise")

    with pytest.raises(Abort):
        made._propose(refuse, None, Completed(), run.id)  # noqa: SLF001
    assert not path.exists()


def test_a_process_that_is_told_to_end_while_it_reports_has_done_its_work(tmp_path: Path) -> None:
    run, path = run_in(Running()), tmp_path / "end"
    made = proposals(path, run)

    def interrupted(*_: Any, **__: Any) -> State[Any]:
        raise KeyboardInterrupt

    state: State[Any] = Completed()
    with pytest.raises(KeyboardInterrupt):
        made._propose(interrupted, None, state, run.id)  # noqa: SLF001
    assert made._propose(interrupted, None, Crashed(), run.id, force=True) is state  # noqa: SLF001
    left = StateReport.read(path)
    assert left
    assert left.type == "COMPLETED"


def test_a_run_is_said_not_to_have_begun_only_before_it_runs(tmp_path: Path) -> None:
    run = run_in(Pending())
    made = proposals(tmp_path / "end", run)
    with pytest.raises(httpx.ConnectError), made.watch_for_outage():
        raise AWAY
    assert made.could_not_begin
    elsewhere = httpx.ConnectError("x", request=httpx.Request("GET", "http://another.example/"))
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1/api"}),
        pytest.raises(httpx.ConnectError),
        made.watch_for_outage(),
    ):
        raise elsewhere
    assert not made.could_not_begin
    made._propose(lambda *_, **__: Running(), None, Running(), run.id)  # noqa: SLF001
    with pytest.raises(httpx.ConnectError), made.watch_for_outage():
        raise AWAY
    assert not made.could_not_begin
