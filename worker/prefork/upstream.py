"""Prefect's private parts that the worker leans on, each in one place.

tests/unit/test_prefork_upstream.py fails when an upgrade moves one or changes what it takes.
"""

from __future__ import annotations

import contextvars
import ssl
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import certifi
from prefect import flow_engine, results
from prefect._internal.control_listener import configure_from_env
from prefect._internal.metrics import RunMetrics
from prefect._internal.observers import FlowRunSuspendingObserver
from prefect.client import orchestration
from prefect.context import refresh_global_settings_context
from prefect.engine import _drive_run_flow_result, handle_engine_signals
from prefect.flow_engine import MINIMUM_HEARTBEAT_INTERVAL, run_flow
from prefect.flows import load_flow_from_flow_run
from prefect.logging.configuration import setup_logging
from prefect.runner._control_channel import ControlChannel
from prefect.runner._flow_run_executor import (
    FlowRunExecutor,
    FlowRunExecutorContext,
    ProcessStarter,
)
from prefect.runner._hook_runner import FlowRunHookRunner, HookRunner
from prefect.runner._process_manager import ProcessHandle
from prefect.settings import get_current_settings

from worker.prefork.process import SessionScope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun

    from worker.prefork.process import ForkedProcess

__all__ = [
    "ControlChannel",
    "FlowRunExecutor",
    "FlowRunExecutorContext",
    "FlowRunHookRunner",
    "HookRunner",
    "ProcessHandle",
    "ProcessStarter",
    "RunMetrics",
    "SuspendingObserver",
    "configure_from_env",
    "drive",
    "handle",
    "handle_engine_signals",
    "load_flow",
    "read_result_storage_once",
    "refresh_global_settings_context",
    "replace_observers",
    "run_flow",
    "setup_logging",
    "share_certificates",
]

drive = _drive_run_flow_result
# Without the decorator that opens a client for it: ours answers from what the worker has read.
load_flow = load_flow_from_flow_run.__wrapped__  # type: ignore[attr-defined]

# A run that is shorter sends none: its events say that it lives.
FIRST_HEARTBEAT_SECONDS = 2


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


def read_result_storage_once() -> None:
    """Have a run ask the server once where results go by default, not for each flow and task."""
    module = cast("Any", results)
    read, aread = (
        module._read_server_default_result_storage_block_id,  # noqa: SLF001
        module._aread_server_default_result_storage_block_id,  # noqa: SLF001
    )
    known: list[UUID | None] = []

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


def handle(process: ForkedProcess) -> ProcessHandle:
    """`process` as Prefect's executor tracks it: by its pid and its exit code."""
    return ProcessHandle(cast("Any", process), termination_scope=SessionScope())


class SuspendingObserver(FlowRunSuspendingObserver):
    """One for many runs, each from a state that is known."""

    def watch(self, flow_run: FlowRun) -> None:
        """Watch `flow_run` from its present state on; older suspensions do not count."""
        watch = self._watches[flow_run.id] = self._create_watch(flow_run.id)
        watch.initialize(flow_run.state)


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
