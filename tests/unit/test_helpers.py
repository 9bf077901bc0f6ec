"""What the helpers for flows do and refuse without a server."""

import datetime as dt
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_CLIENT_CSRF_SUPPORT_ENABLED, temporary_settings

from flows.helpers import past_runs
from flows.helpers.files import appearing
from flows.helpers.locks import lock
from flows.helpers.past_runs import find_runs, ran_within
from flows.helpers.tags import add_tags


def test_tags_are_added_in_a_run_only() -> None:
    with pytest.raises(RuntimeError, match="expected a call in a flow or a task"):
        add_tags("env:pro")


def test_a_lock_is_acquired_in_a_run_only() -> None:
    with pytest.raises(RuntimeError, match="expected a call in a flow or a task"), lock("ours"):
        pass


def test_outside_of_a_run_the_flow_is_named() -> None:
    with pytest.raises(RuntimeError, match="expected a flow's name"):
        ran_within(dt.timedelta(days=1))


@pytest.mark.parametrize("states", [["COMPLETED"], "FAILED"])
def test_a_type_is_no_name_of_a_state(states: list[str] | str) -> None:
    with pytest.raises(ValueError, match="expected names as the UI shows them"):
        find_runs(states=states)
    with pytest.raises(ValueError, match="expected names as the UI shows them"):
        ran_within(dt.timedelta(days=1), "hello", states=states)


class TestAppearing:
    def test_a_file_is_there_at_the_end_and_not_before(self, tmp_path: Path) -> None:
        with appearing(tmp_path / "made" / "file") as part:
            part.write_text("whole")
            assert not (tmp_path / "made" / "file").exists()
        assert [(each.name, each.read_text()) for each in (tmp_path / "made").iterdir()] == [
            ("file", "whole")
        ]

    def test_after_an_error_the_file_there_was_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text("before")

        def write() -> None:
            with appearing(path) as part:
                part.write_text("half")
                raise OSError("disk full")

        with pytest.raises(OSError, match="full"):
            write()
        assert [each.name for each in tmp_path.iterdir()] == ["file"]
        assert path.read_text() == "before"


def _server(monkeypatch: pytest.MonkeyPatch, answers: dict[str, httpx.Response]) -> None:
    """Let `past_runs` ask a server that gives these answers, by the last part of the path."""

    def answer(request: httpx.Request) -> httpx.Response:
        return answers[request.url.path.rsplit("/", 1)[-1]]

    def client(**_kind: object) -> SyncPrefectClient:
        settings = {"transport": httpx.MockTransport(answer)}
        return SyncPrefectClient("http://nowhere/api", httpx_settings=settings)

    monkeypatch.setattr(past_runs, "get_client", client)


def test_a_run_that_the_server_cannot_list_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    _server(monkeypatch, {"filter": httpx.Response(500)})
    with (
        temporary_settings({PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}),
        pytest.raises(RuntimeError, match="a parameter beyond 64 bits"),
    ):
        find_runs()


def test_a_run_that_the_server_cannot_list_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    _server(monkeypatch, {"filter": httpx.Response(500), "count": httpx.Response(200, json=1)})
    with temporary_settings({PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}):
        assert ran_within(dt.timedelta(days=1), "a flow")
