"""Prefect's private parts that the worker leans on, each in one place.

tests/unit/test_prefork_upstream.py fails when an upgrade moves one or changes what it takes.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import ssl
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import certifi
from prefect import flow_engine, flows, results
from prefect._internal.control_listener import configure_from_env
from prefect._internal.metrics import RunMetrics
from prefect._internal.observers import FlowRunCancellingObserver, FlowRunSuspendingObserver
from prefect.client import base, orchestration
from prefect.context import refresh_global_settings_context
from prefect.engine import _drive_run_flow_result, handle_engine_signals
from prefect.flow_engine import MINIMUM_HEARTBEAT_INTERVAL, run_flow
from prefect.logging.configuration import setup_logging
from prefect.runner import _flow_run_executor
from prefect.runner._control_channel import ControlChannel
from prefect.runner._flow_run_executor import (
    FlowRunExecutor,
    FlowRunExecutorContext,
    ProcessStarter,
)
from prefect.runner._hook_runner import FlowRunHookRunner, HookRunner
from prefect.runner._process_manager import ProcessHandle
from prefect.runner._starter_engine import EngineCommandStarter
from prefect.runner._state_proposer import StateProposer
from prefect.runner._workspace_resolver import PreparedWorkspace, _resolve_runtime_entrypoint
from prefect.runner._workspace_starter import (
    WorkspaceResolvingEngineCommandStarter,
    workspace_environment,
)
from prefect.settings import get_current_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from prefect.client.schemas.objects import FlowRun

__all__ = [
    "ControlChannel",
    "EngineCommandStarter",
    "FlowRunExecutor",
    "FlowRunExecutorContext",
    "FlowRunHookRunner",
    "HookRunner",
    "ProcessHandle",
    "ProcessStarter",
    "RunMetrics",
    "StateProposer",
    "SuspendingObserver",
    "WorkspaceResolvingEngineCommandStarter",
    "bring_code",
    "configure_from_env",
    "drive",
    "handle_engine_signals",
    "load_flow",
    "name_run_in_requests",
    "python_path",
    "read_result_storage_once",
    "refresh_global_settings_context",
    "replace_observers",
    "replace_proposals",
    "report_by",
    "retry_first_connections",
    "run_flow",
    "runtime_entrypoint",
    "setup_logging",
    "share_certificates",
]

drive = _drive_run_flow_result
load_flow = flow_engine._load_flow_from_runtime_entrypoint  # noqa: SLF001
runtime_entrypoint = _resolve_runtime_entrypoint

# A run that is shorter sends none: its events say that it lives.
FIRST_HEARTBEAT_SECONDS = 2


async def bring_code(client: Any, flow_run: FlowRun) -> None:
    """Run the pull steps of a run's deployment, as Prefect's engine does, and go where the code is.

    The engine imports the flow on the way, in a thread: what a module sets for its thread when it
    is imported, the precision of `decimal` or a signal's handler, would not hold in the flow. Left
    out here; `load_flow` does it in the main thread, as the process worker does.
    """
    module = cast("Any", flows)
    load = module.load_flow_from_entrypoint
    module.load_flow_from_entrypoint = lambda *_, **__: None
    try:
        # Without the decorator that opens a client: ours answers from what the worker has read.
        await module.load_flow_from_flow_run.__wrapped__(
            client, flow_run, use_placeholder_flow=False
        )
    finally:
        module.load_flow_from_entrypoint = load


def python_path(start: Path, known: Sequence[str]) -> str:
    """The `PYTHONPATH` of a run whose code is in the working directory, for what it starts.

    Args:
        start: where the run began.
        known: `sys.path` before its code was brought.
    """
    workspace = PreparedWorkspace(
        workspace_root=start,
        working_directory=Path.cwd(),
        runtime_entrypoint="",
        environment=dict(os.environ),
        sys_path=[each for each in sys.path if each not in known],
    )
    return workspace_environment(workspace)["PYTHONPATH"]


def replace_observers(
    observe: Callable[..., AbstractContextManager[None]],
) -> None:
    """Have the engine learn of a suspension by `observe`, and send heartbeats without a wait.

    The engine's own observer opens a websocket and reads the run again before the flow begins, and
    its heartbeat looks once a second whether the run is over; a run's end waits for both.
    """
    engine = cast("Any", flow_engine)
    engine.observe_flow_run_suspension = observe
    engine._send_heartbeats = _send_heartbeats  # noqa: SLF001


@contextmanager
def _send_heartbeats(engine: Any, join_on_exit: bool = True) -> Iterator[None]:  # noqa: ARG001, FBT001, FBT002
    """Send a heartbeat as often as the settings say, from a thread, while the flow runs."""
    if engine.heartbeat_seconds is None:
        yield
        return
    every = max(engine.heartbeat_seconds, MINIMUM_HEARTBEAT_INTERVAL)
    resource, related = engine._build_heartbeat_event_template()  # noqa: SLF001
    over = threading.Event()

    def beat() -> None:
        wait = FIRST_HEARTBEAT_SECONDS
        while not over.wait(wait):
            wait = every
            if engine.flow_run.state and engine.flow_run.state.is_final():
                return
            try:
                engine._emit_flow_run_heartbeat(resource, related)  # noqa: SLF001
            except Exception:
                engine.logger.debug("Failed to emit heartbeat", exc_info=True)

    # The thread has to see the settings of this run.
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(beat,), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def replace_proposals(propose: Callable[..., Any], apropose: Callable[..., Awaitable[Any]]) -> None:
    """Have the engine propose states by `propose` and `apropose`.

    Each gets Prefect's own function first, then what that takes.
    """
    engine = cast("Any", flow_engine)
    engine.propose_state_sync = functools.partial(propose, engine.propose_state_sync)
    engine.propose_state = functools.partial(apropose, engine.propose_state)


def retry_first_connections() -> None:
    """Have clients try again also before they have reached the server once.

    Prefect takes a server that a new client cannot connect to for a wrong address. Each run has a
    client of its own, whose first call may meet a server that is just starting again.
    """
    for client in (base.PrefectHttpxAsyncClient, base.PrefectHttpxSyncClient):
        # Each instance sets it to False when it is made, and Prefect's own code reads it.
        cast("Any", client)._has_connected = property(  # noqa: SLF001
            lambda _: True, lambda _, __: None
        )


def name_run_in_requests(flow_run_id: UUID) -> None:
    """Have each request of this process say which run sends it.

    Prefect names the deployment only, by which the stack's server could not tell whose slot of a
    global limit is whose when one of several runs is killed.
    """
    module = cast("Any", base)
    named = module.get_attribution_headers
    own = {"X-Prefect-Flow-Run-Id": str(flow_run_id)}
    module.get_attribution_headers = lambda: {**named(), **own}


def report_by(context: FlowRunExecutorContext, proposer: StateProposer) -> None:
    """Have `context`, which has been entered, report what its processes come to by `proposer`."""
    private = cast("Any", context)
    private._state_proposer = proposer  # noqa: SLF001
    private._cancellation_manager._state_proposer = proposer  # noqa: SLF001


def read_result_storage_once(answer: Mapping[str, str | None] | None) -> None:
    """Have a run know where results go by default, not ask the server for each flow and task.

    Args:
        answer: the block's `id`, which is None for the files of the machine; without an answer the
            run asks once.
    """
    module = cast("Any", results)
    read, aread = (
        module._read_server_default_result_storage_block_id,  # noqa: SLF001
        module._aread_server_default_result_storage_block_id,  # noqa: SLF001
    )
    known = [] if answer is None else [UUID(answer["id"]) if answer["id"] else None]

    def once() -> UUID | None:
        if not known:
            known.append(read())
        return known[0]

    async def aonce() -> UUID | None:
        if not known:
            known.append(await aread())
        return known[0]

    module._read_server_default_result_storage_block_id = once  # noqa: SLF001
    module._aread_server_default_result_storage_block_id = aonce  # noqa: SLF001


async def _until_it_succeeds(check: Callable[[], Awaitable[None]], observer: Any) -> None:
    """Run `check` until it succeeds once.

    Prefect's observers are there for one run, and give up for good when a few polls fail while the
    events cannot be heard. Those of a worker outlive any outage.
    """
    while True:
        try:
            await check()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next turn tries again
            observer.logger.debug("The states of runs could not be checked: %r", error)
            await asyncio.sleep(observer.polling_interval)
        else:
            return


class CancellingObserver(FlowRunCancellingObserver):
    """One for all runs of a worker, for as long as that lives."""

    async def _check_for_cancelled_flow_runs(self) -> None:
        await _until_it_succeeds(super()._check_for_cancelled_flow_runs, self)


class SuspendingObserver(FlowRunSuspendingObserver):
    """One for all runs of a worker, each watched from a state that is known."""

    async def _check_for_suspended_flow_runs(self) -> None:
        await _until_it_succeeds(super()._check_for_suspended_flow_runs, self)

    def watch(self, flow_run: FlowRun) -> None:
        """Watch `flow_run` from its present state on; older suspensions do not count."""
        watch = self._watches[flow_run.id] = self._create_watch(flow_run.id)
        watch.initialize(flow_run.state)


# The one that the context of an executor makes.
cast("Any", _flow_run_executor).FlowRunCancellingObserver = CancellingObserver


class _Ssl:
    """The module `ssl` with the certificates of one file read once, not by each client."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[str, int], ssl.SSLContext] = {}

    def create_default_context(self, *, cafile: str | None = None) -> ssl.SSLContext:
        if cafile is None:  # Prefect changes this one
            return ssl.create_default_context()
        key = (cafile, Path(cafile).stat().st_mtime_ns)
        if key not in self._contexts:
            self._contexts[key] = ssl.create_default_context(cafile=cafile)
        return self._contexts[key]

    def __getattr__(self, name: str) -> Any:
        return getattr(ssl, name)


def share_certificates() -> None:
    """Have all clients of this process, and of those forked from it, share what they trust."""
    shared = _Ssl()
    cast("Any", orchestration).ssl = shared
    shared.create_default_context(
        cafile=get_current_settings().api.ssl_cert_file or certifi.where()
    )
