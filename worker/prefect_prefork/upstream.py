"""All private parts of Prefect that are used, except for the methods that `worker` overrides.

tests/unit/test_prefork_upstream.py fails if a new version moves one or changes its arguments.
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
from prefect.runner import _event_emitter, _flow_run_executor
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
from websockets.exceptions import WebSocketException

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from prefect.client.schemas.objects import FlowRun

# Names that are imported only to be used from here.
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
    "WorkspaceResolvingEngineCommandStarter",
    "configure_from_env",
    "handle_engine_signals",
    "refresh_global_settings_context",
    "run_flow",
    "setup_logging",
]

drive = _drive_run_flow_result
load_flow = flow_engine._load_flow_from_runtime_entrypoint  # noqa: SLF001
runtime_entrypoint = _resolve_runtime_entrypoint

# A shorter run sends no heartbeat, since its other events show that it is alive.
FIRST_HEARTBEAT_SECONDS = 2


async def bring_code(client: Any, flow_run: FlowRun) -> None:
    """Run the pull steps of a deployment as Prefect's engine does, and change to the code.

    The engine also imports the flow, in a thread. What a module sets for its thread when it is
    imported, such as the precision of `decimal`, would then have no effect in the flow. So this
    leaves out the import; `load_flow` does it in the main thread, like the process worker.
    """
    module = cast("Any", flows)
    load = module.load_flow_from_entrypoint
    module.load_flow_from_entrypoint = lambda *_, **__: None
    try:
        # Bypass the decorator, which opens a client: ours has what the worker has already read.
        await module.load_flow_from_flow_run.__wrapped__(
            client, flow_run, use_placeholder_flow=False
        )
    finally:
        module.load_flow_from_entrypoint = load


def python_path(start: Path, known: Sequence[str]) -> str:
    """Return the `PYTHONPATH` for processes that a run starts, with its code in this directory.

    Args:
        start: the working directory in which the run began.
        known: `sys.path` before the pull steps.
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
    """Make the engine learn of suspensions from `observe`, and stop heartbeats without delay.

    The engine's own observer opens a websocket and reads the run again before the flow begins. Its
    heartbeat checks once a second whether the run is over. The end of a run waits for both.
    """
    engine = cast("Any", flow_engine)
    engine.observe_flow_run_suspension = observe
    engine._send_heartbeats = _send_heartbeats  # noqa: SLF001


@contextmanager
def _send_heartbeats(engine: Any, join_on_exit: bool = True) -> Iterator[None]:  # noqa: ARG001, FBT001, FBT002
    """Send heartbeats from a thread while the flow runs, as often as the settings say."""
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

    # The thread needs the settings of this run.
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(beat,), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def replace_proposals(propose: Callable[..., Any], apropose: Callable[..., Awaitable[Any]]) -> None:
    """Make the engine propose states by `propose` and `apropose`.

    Each is called with Prefect's own function, followed by the arguments of that function.
    """
    engine = cast("Any", flow_engine)
    engine.propose_state_sync = functools.partial(propose, engine.propose_state_sync)
    engine.propose_state = functools.partial(apropose, engine.propose_state)


def retry_first_connections() -> None:
    """Make clients retry even if they have never reached the server.

    Prefect assumes that the address is wrong if the first connection of a client fails. Each run
    has a new client, and its first request may come while the server is restarting.
    """
    for client in (base.PrefectHttpxAsyncClient, base.PrefectHttpxSyncClient):
        # Each new instance sets it to False; Prefect's code reads it.
        cast("Any", client)._has_connected = property(  # noqa: SLF001
            lambda _: True, lambda _, __: None
        )


def name_run_in_requests(flow_run_id: UUID) -> None:
    """Add a header to each request of this process that names the flow run.

    Prefect's own headers only name the deployment. A server or proxy needs this one to distinguish
    the runs of a deployment, for example to find the holder of a slot of a concurrency limit.
    """
    module = cast("Any", base)
    named = module.get_attribution_headers
    own = {"X-Prefect-Flow-Run-Id": str(flow_run_id)}
    module.get_attribution_headers = lambda: {**named(), **own}


def report_by(context: FlowRunExecutorContext, proposer: StateProposer) -> None:
    """Make `context`, which has been entered, report the ends of processes by `proposer`."""
    private = cast("Any", context)
    private._state_proposer = proposer  # noqa: SLF001
    private._cancellation_manager._state_proposer = proposer  # noqa: SLF001


def replace_cancellation(
    context: FlowRunExecutorContext,
    cancel: Callable[..., Awaitable[None]],
    cancel_by_id: Callable[[UUID], Awaitable[None]],
    kill: Callable[..., Awaitable[None]],
) -> Callable[..., Awaitable[None]]:
    """Make `context`, which has been entered, cancel runs by these functions.

    Return Prefect's own function that `cancel` replaces.
    """
    manager = cast("Any", context)._cancellation_manager  # noqa: SLF001
    own: Callable[..., Awaitable[None]] = manager.cancel
    manager.cancel = cancel
    manager.cancel_by_id = cancel_by_id
    cast("Any", context.process_manager).kill = kill
    return own


def read_result_storage_once(answer: Mapping[str, str | None] | None) -> None:
    """Make a run cache the default storage of results, instead of asking for each flow and task.

    Args:
        answer: the `id` of the storage block, which is None for local files. If there is no answer,
            the run asks once.
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
    """Run `check` until it succeeds.

    Prefect's observers serve a single run, and give up for good if a few polls fail while events
    cannot be received. Those of a worker have to survive any outage.
    """
    while True:
        try:
            await check()
        except Exception as error:  # noqa: BLE001 - retry after any error
            observer.logger.debug("The states of runs could not be checked: %r", error)
            await asyncio.sleep(observer.polling_interval)
        else:
            return


class CancellingObserver(FlowRunCancellingObserver):
    """Observes cancellations of all runs of a worker, for as long as the worker lives."""

    async def _check_for_cancelled_flow_runs(self) -> None:
        await _until_it_succeeds(super()._check_for_cancelled_flow_runs, self)


class SuspendingObserver(FlowRunSuspendingObserver):
    """Observes suspensions of all runs of a worker, each from a known state on."""

    async def _check_for_suspended_flow_runs(self) -> None:
        await _until_it_succeeds(super()._check_for_suspended_flow_runs, self)

    def watch(self, flow_run: FlowRun) -> None:
        """Watch `flow_run` from its present state on, ignoring earlier suspensions."""
        watch = self._watches[flow_run.id] = self._create_watch(flow_run.id)
        watch.initialize(flow_run.state)


# The executor context instantiates this class.
cast("Any", _flow_run_executor).FlowRunCancellingObserver = CancellingObserver


# Prefect's emitter tolerates refused websockets, but an error of a proxy that drops them without an
# answer would end the worker.
cast("Any", _event_emitter)._NONFATAL_CONNECTION_EXCEPTIONS += (WebSocketException,)  # noqa: SLF001


class _Ssl:
    """The module `ssl`, except that certificates are read only once, not by each client."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[str, int], ssl.SSLContext] = {}

    def create_default_context(self, *, cafile: str | None = None) -> ssl.SSLContext:
        if cafile is None:  # Prefect modifies this context, so it must not be shared
            return ssl.create_default_context()
        key = (cafile, Path(cafile).stat().st_mtime_ns)
        if key not in self._contexts:
            self._contexts[key] = ssl.create_default_context(cafile=cafile)
        return self._contexts[key]

    def __getattr__(self, name: str) -> Any:
        return getattr(ssl, name)


def share_certificates() -> None:
    """Make all clients of this process, and of its forks, share one set of trusted certificates."""
    shared = _Ssl()
    cast("Any", orchestration).ssl = shared
    shared.create_default_context(
        cafile=get_current_settings().api.ssl_cert_file or certifi.where()
    )
