"""The private parts of Prefect that the worker relies on exist, and take what it gives them."""

from __future__ import annotations

import asyncio
import inspect
import socket
import sys
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import httpx
import pytest
from prefect import flow_engine, flows, results
from prefect.client import base, orchestration
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.runner._cancellation_manager import CancellationManager
from prefect.runner._process_manager import ProcessHandle
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_CLIENT_RETRY_JITTER_FACTOR,
    temporary_settings,
)
from prefect.states import Cancelling, Running
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

from prefect_prefork import upstream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RUN = UUID(int=11)


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_the_engine_learns_of_a_suspension_by_the_name_that_is_replaced() -> None:
    assert parameters(flow_engine.observe_flow_run_suspension) == [  # type: ignore[attr-defined]
        *("flow_run_id", "suspension_request", "polling_interval")
    ]
    source = inspect.getsource(flow_engine.BaseFlowRunEngine.setup_flow_run_suspension_request)
    assert "observe_flow_run_suspension(" in source


def test_the_engine_sends_heartbeats_by_the_name_that_is_replaced() -> None:
    replaced = flow_engine._send_heartbeats  # noqa: SLF001
    assert parameters(replaced) == ["engine", "join_on_exit"]
    for engine in (flow_engine.FlowRunEngine, flow_engine.AsyncFlowRunEngine):
        assert "_send_heartbeats(self" in inspect.getsource(engine)
        assert hasattr(engine, "_build_heartbeat_event_template")
        assert hasattr(engine, "_emit_flow_run_heartbeat")


def test_the_default_storage_of_results_is_read_by_the_names_that_are_replaced() -> None:
    for name in ("_get_default_result_storage", "_get_default_persist_result"):
        sync, asynchronous = getattr(results, name), getattr(results, f"_a{name[1:]}")
        assert "_read_server_default_result_storage_block_id()" in inspect.getsource(sync)
        source = inspect.getsource(asynchronous)
        assert "_aread_server_default_result_storage_block_id()" in source


def test_clients_make_their_certificates_by_the_name_that_is_replaced() -> None:
    for client in (orchestration.PrefectClient, orchestration.SyncPrefectClient):
        assert "ssl.create_default_context(cafile=" in inspect.getsource(client)


def test_bringing_the_code_is_loading_the_flow_without_the_import() -> None:
    loader = flows.load_flow_from_flow_run.__wrapped__  # type: ignore[attr-defined]
    assert parameters(loader)[:2] == ["client", "flow_run"]
    imports = "run_sync_in_worker_thread(\n            load_flow_from_entrypoint,"
    assert inspect.getsource(loader).count(imports) == 2  # by module and by file
    assert parameters(upstream.load_flow) == ["entrypoint"]
    assert upstream.runtime_entrypoint("flows/a.py:b") == "flows/a.py:b"
    assert upstream.runtime_entrypoint("flows.a.b") == "flows.a.b"


def test_what_a_run_starts_finds_the_modules_that_it_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "/given")
    monkeypatch.syspath_prepend("/pulled")
    known = [each for each in sys.path if each != "/pulled"]
    assert upstream.python_path(tmp_path, known).split(":") == [str(tmp_path), "/pulled", "/given"]


def test_an_executor_takes_hooks_and_leaves_the_state_before_the_start_alone() -> None:
    taken = parameters(upstream.FlowRunExecutorContext.create_executor)
    assert {"flow_run", "starter", "hook_runner", "propose_submitting"} <= set(taken)
    assert parameters(CancellationManager.cancel) == ["self", "flow_run", "state_msg"]
    assert parameters(ProcessHandle)[1] == "termination_scope"


class Told:
    """Notes the run that an observer tells about, and the runs that it gives up."""

    def __init__(self) -> None:
        self.run: asyncio.Future[UUID] = asyncio.get_running_loop().create_future()
        self.given_up: set[UUID] = set()

    def cancelling(self, flow_run_id: UUID) -> None:
        self.run.set_result(flow_run_id)

    def suspended(self, flow_run_id: UUID, state: State[Any]) -> None:  # noqa: ARG002
        self.run.set_result(flow_run_id)

    def gave_up(self, flow_run_ids: set[UUID]) -> None:
        self.given_up |= flow_run_ids


def cancelling(told: Told) -> upstream.CancellingObserver:
    return upstream.CancellingObserver(told.cancelling, 0.01, on_failure=told.gave_up)


def suspending(told: Told) -> upstream.SuspendingObserver:
    return upstream.SuspendingObserver(told.suspended, 0.01, on_failure=told.gave_up)


class Client:
    """Answers for the run of an observer, but raises an error the first `failures` times."""

    def __init__(self, state: State[Any], failures: int) -> None:
        self.run = FlowRun(id=RUN, flow_id=RUN, state=state)
        self.failures = failures

    async def read_flow_runs(self, **_filters: object) -> list[FlowRun]:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the database is away")
        return [self.run]

    async def read_flow_run(self, _run: UUID) -> FlowRun:
        return self.run


@pytest.mark.parametrize(
    ("make", "before", "after"),
    [
        (cancelling, Running(), Cancelling()),
        (suspending, Running(), State(type=StateType.PAUSED, name="Suspended")),
    ],
    ids=["cancelling", "suspending"],
)
def test_an_observer_tells_what_it_polls_after_any_number_of_polls_that_failed(
    make: Callable[[Told], Any],
    before: State[Any],
    after: State[Any],
) -> None:
    async def main() -> None:
        told = Told()
        async with asyncio.timeout(60), make(told) as observer:
            observer._client = Client(after, failures=20)  # noqa: SLF001
            if isinstance(observer, upstream.SuspendingObserver):
                observer.watch(FlowRun(id=RUN, flow_id=RUN, state=before))
            else:
                observer.add_in_flight_flow_run_id(RUN)
            assert await told.run == RUN
        assert told.given_up == set()

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # it does not listen, so connections are refused
        with temporary_settings(
            {PREFECT_API_URL: f"http://127.0.0.1:{nobody.getsockname()[1]}/api"}
        ):
            asyncio.run(main())


def test_the_process_worker_has_what_ours_changes() -> None:
    for name in (
        *("_submit_run", "_submit_scheduled_flow_runs", "_initialize_after_sync"),
        *("_propose_crashed_state", "_mark_flow_run_as_cancelled", "_release_limit_slot"),
        *("_give_worker_labels_to_flow_run", "_emit_flow_run_submitted_event"),
        *("_record_work_pool_snapshot", "_emit_flow_run_executed_event"),
        *("get_and_submit_flow_runs", "setup", "teardown"),
    ):
        assert callable(getattr(ProcessWorker, name)), name
    assert parameters(ProcessJobConfiguration._base_environment) == []  # noqa: SLF001
    assert "_command_configured" in ProcessJobConfiguration.__private_attributes__
    assert "_related_objects" in ProcessJobConfiguration.__private_attributes__


def test_prefects_own_starters_take_what_all_runs_share() -> None:
    assert {"command", "cwd", "env", "stream_output", "control_channel"} <= set(
        parameters(upstream.EngineCommandStarter)
    )
    assert {"workspace_root", "source_cwd", "environment", "control_channel"} <= set(
        parameters(upstream.WorkspaceResolvingEngineCommandStarter)
    )
    assert hasattr(upstream.WorkspaceResolvingEngineCommandStarter, "hook_runner")


def test_each_request_of_a_run_says_which_run_sends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "get_attribution_headers"
    monkeypatch.setattr(base, name, getattr(base, name))
    upstream.name_run_in_requests(RUN)
    for client in (base.PrefectHttpxAsyncClient(), base.PrefectHttpxSyncClient()):
        request = client.build_request("POST", "http://127.0.0.1/api/logs/")
        client._add_attribution_headers(request)  # noqa: SLF001
        assert request.headers["X-Prefect-Flow-Run-Id"] == str(RUN)


def test_a_client_of_a_run_tries_again_before_it_has_reached_the_server_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for kind in (base.PrefectHttpxAsyncClient, base.PrefectHttpxSyncClient):
        assert not hasattr(kind, "_has_connected")
        monkeypatch.setattr(kind, "_has_connected", None, raising=False)  # taken back afterwards
    upstream.retry_first_connections()
    tries = 0

    def refuse(_: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        raise httpx.ConnectError("refused")

    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1, PREFECT_CLIENT_RETRY_JITTER_FACTOR: 0}):
        client = base.PrefectHttpxSyncClient(transport=httpx.MockTransport(refuse))
        monkeypatch.setattr("prefect.client.base.time.sleep", lambda _: None)
        with pytest.raises(httpx.ConnectError):
            client.get("http://127.0.0.1/api/ready")
    assert tries == 2


def test_an_engine_proposes_by_what_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("propose_state", "propose_state_sync"):
        monkeypatch.setattr(flow_engine, name, getattr(flow_engine, name))
        for kind in (flow_engine.FlowRunEngine, flow_engine.AsyncFlowRunEngine):
            source = inspect.getsource(kind.set_state)
            assert ("propose_state_sync(" in source) != ("await propose_state(" in source)
    engine = cast("Any", flow_engine)
    own = engine.propose_state_sync
    upstream.replace_proposals(lambda *given: given, cast("Any", lambda *given: given))
    assert engine.propose_state_sync("client") == (own, "client")
