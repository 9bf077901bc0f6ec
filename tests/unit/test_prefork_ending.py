"""A run's own process writes its end to a file before it reports it to the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prefect.exceptions import Abort
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Crashed, Failed, Pending, Running, Scheduled

from prefect_prefork.forked.proposals import VARIABLE, Proposals
from prefect_prefork.recovery.state_report import StateReport
from tests.unit.run_api import AWAY, LOGGER, run_in

if TYPE_CHECKING:
    from pathlib import Path

    from prefect.client.schemas.objects import FlowRun, State


def ending(path: Path, run: FlowRun) -> Proposals:
    return Proposals(run.id, {VARIABLE: str(path)}, LOGGER)


def test_a_run_whose_end_the_server_does_not_take_ends_all_the_same(tmp_path: Path) -> None:
    run, path = run_in(Running()), tmp_path / "end"

    def propose(*_: Any, **__: Any) -> State[Any]:
        assert StateReport.read(path)  # first of all: it may be killed while it reports
        raise AWAY

    state: State[Any] = Completed(message="done")
    assert ending(path, run)._propose(propose, None, state, run.id) is state  # noqa: SLF001
    left = StateReport.read(path)
    assert left
    assert (left.type, left.state["message"]) == ("COMPLETED", "done")


def test_a_run_whose_end_is_taken_leaves_nothing(tmp_path: Path) -> None:
    run, path = run_in(Running()), tmp_path / "end"
    end = ending(path, run)
    retry: State[Any] = Scheduled()
    assert end._propose(lambda *_, **__: retry, None, Failed(), run.id) is retry  # noqa: SLF001
    assert not path.exists()

    def refuse(*_: Any, **__: Any) -> State[Any]:
        raise Abort("it has ended otherwise")

    with pytest.raises(Abort):
        end._propose(refuse, None, Completed(), run.id)  # noqa: SLF001
    assert not path.exists()


def test_a_process_that_is_told_to_end_while_it_reports_has_done_its_work(tmp_path: Path) -> None:
    run, path = run_in(Running()), tmp_path / "end"
    end = ending(path, run)

    def interrupted(*_: Any, **__: Any) -> State[Any]:
        raise KeyboardInterrupt

    state: State[Any] = Completed()
    with pytest.raises(KeyboardInterrupt):
        end._propose(interrupted, None, state, run.id)  # noqa: SLF001
    assert end._propose(interrupted, None, Crashed(), run.id, force=True) is state  # noqa: SLF001
    left = StateReport.read(path)
    assert left
    assert left.type == "COMPLETED"


def test_a_run_is_said_not_to_have_begun_only_before_it_runs(tmp_path: Path) -> None:
    run = run_in(Pending())
    end = ending(tmp_path / "end", run)
    with pytest.raises(httpx.ConnectError), end.watch_for_outage():
        raise AWAY
    assert end.could_not_begin
    elsewhere = httpx.ConnectError("x", request=httpx.Request("GET", "http://another.example/"))
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1/api"}),
        pytest.raises(httpx.ConnectError),
        end.watch_for_outage(),
    ):
        raise elsewhere
    assert not end.could_not_begin
    end._propose(lambda *_, **__: Running(), None, Running(), run.id)  # noqa: SLF001
    with pytest.raises(httpx.ConnectError), end.watch_for_outage():
        raise AWAY
    assert not end.could_not_begin
