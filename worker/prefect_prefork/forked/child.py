"""The forked process: it takes on the environment of one run, executes the run, and exits.

The steps are those of `python -m prefect.engine`, except for what the worker has already read.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import signal
import socket
import sys
import threading
import time
import traceback
import zoneinfo
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import DeploymentResponse
from prefect.logging.handlers import APILogHandler
from prefect.logging.loggers import flow_run_logger
from prefect.utilities.asyncutils import run_coro_as_sync

from prefect_prefork import upstream
from prefect_prefork.common import framing, linux, messages, prefect_settings
from prefect_prefork.forked import preload, problems, randomness
from prefect_prefork.forked.proposals import Proposals
from prefect_prefork.pickup.early_runs import seconds_until_due
from prefect_prefork.recovery.state_report import NOT_BEGUN

# Prefect's engine removes these variables from the environment after reading them.
CONTROL = ("PREFECT__CONTROL_PORT", "PREFECT__CONTROL_TOKEN")

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from uuid import UUID

    from prefect.flows import Flow

    from prefect_prefork.common.messages import Request


@dataclass(frozen=True)
class Before:
    """The state of a template before it forks, to detect what a run changes."""

    modules: frozenset[str]
    settings: prefect_settings.Sources
    installed: preload.State
    generators: tuple[random.Random, ...]

    @classmethod
    def now(cls) -> Before:
        return cls(
            frozenset(sys.modules),
            prefect_settings.sources(os.environ, os.getcwd()),  # noqa: PTH109
            preload.state(),
            randomness.generators(),
        )


def main(
    answer: socket.socket, worker: int, before: Before, request: Request, files: list[int]
) -> NoReturn:
    """Carry out `request` and exit; never return, never raise.

    Nothing runs before the worker has acknowledged this process. If the worker has given up on a
    slow template, it asks another one, and the run must not begin twice.
    """
    code = 1
    proposals: Proposals | None = None
    try:
        os.setsid()
        framing.send(answer, messages.Forked(pid=os.getpid()).encode())
        messages.Go.decode(framing.receive(answer)[0])
        answer.close()
    except (EOFError, OSError, ValueError):
        os._exit(code)
    try:
        line = socket.socket(fileno=files[0])
        with problems.report_to(line):
            _become(request, worker, before)
            flow_run = FlowRun.model_validate(request.flow_run)
            proposals = Proposals(flow_run.id, os.environ, flow_run_logger(flow_run=flow_run))
            upstream.configure_from_env()
            with proposals.watch_for_outage():
                flow = _load(flow_run, request, line, before)
        if request.hooks:
            state = State.model_validate(request.state)
            code = _run_hooks(request.hooks, flow_run, flow, state)
        else:
            code = _run(flow_run, flow, request, line, before, proposals)
    except SystemExit as error:
        code = _exit_code(error)
    except BaseException:  # noqa: BLE001 - as the interpreter does at its top
        traceback.print_exc()
    finally:
        _end(NOT_BEGUN if proposals and proposals.could_not_begin else code)


def _become(request: Request, worker: int, before: Before) -> None:
    """Take on the environment of the run, as if an interpreter had been started in it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminated)
    deadline = time.monotonic() + 5
    while os.getppid() != worker and time.monotonic() < deadline:
        time.sleep(0.0005)  # until the intermediate process has ended, and the worker is the parent
    if not linux.end_with_parent(worker):
        os._exit(1)  # the worker has died; its next start reports the run
    os.environ.clear()
    os.environ.update(request.env)
    if not request.stream_output:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        os.dup2(devnull, 2)
    with problems.step("The working directory of the run cannot be entered"):
        os.chdir(request.cwd)
    sys.path.insert(0, request.cwd)
    sys.argv = ["prefect.engine"]
    # Processes that the flow spawns with multiprocessing import this as their main module.
    sys.modules["__main__"].__spec__ = importlib.util.find_spec("prefect.engine")
    time.tzset()
    zoneinfo.reset_tzpath()
    randomness.reseed(before.generators)
    if prefect_settings.sources(os.environ, request.cwd) != before.settings:
        _read_settings()


def _read_settings() -> None:
    with problems.step("Prefect's settings cannot be read"):
        upstream.refresh_global_settings_context()
    with problems.step("The logs cannot be set up"):
        upstream.setup_logging(incremental=False)


def _run(  # noqa: PLR0913, PLR0917
    flow_run: FlowRun,
    flow: Flow[..., Any],
    request: Request,
    line: socket.socket,
    before: Before,
    proposals: Proposals,
) -> int:
    with upstream.handle_engine_signals(flow_run.id), proposals.watch_for_outage():
        _tell_learnt(line, before)
        _wait_until_due(flow_run)
        proposals.take_over()
        upstream.name_run_in_requests(flow_run.id)
        upstream.replace_observers(_Observer(line, flow_run.id).observe)
        upstream.read_result_storage_once(request.result_storage)
        logger = flow_run_logger(flow_run=flow_run)
        with upstream.RunMetrics(flow_run, flow):
            result = upstream.run_flow(flow, flow_run=flow_run, error_logger=cast("Any", logger))
            upstream.drive(flow, result)
        _tell_learnt(line, before)
    return 0


def _tell_learnt(line: socket.socket, before: Before) -> None:
    if names := preload.learnt(before.modules):
        _tell(line, messages.Learnt(names=names))


def _tell(line: socket.socket, message: messages.FromRun) -> None:
    with contextlib.suppress(OSError):  # if the worker is gone, the run still goes on
        framing.send(line, message.encode())


def _wait_until_due(flow_run: FlowRun) -> None:
    # The run was forked early. If it asked the server now, that would delay it longer.
    if (wait := seconds_until_due(flow_run)) > 0:
        time.sleep(wait)


def _load(
    flow_run: FlowRun, request: Request, line: socket.socket, before: Before
) -> Flow[..., Any]:
    """Run the pull steps and load the flow from its file, like the process worker."""
    settings = prefect_settings.sources(os.environ, os.getcwd())  # noqa: PTH109
    if request.brought:
        brought = messages.Brought.model_validate(request.brought)
        os.chdir(brought.directory)
        sys.path[:0] = brought.path
        os.environ["PYTHONPATH"] = brought.python_path
    else:
        brought = _bring(flow_run, request)
        _tell(line, brought)
    if preload.state() != before.installed and not request.hooks:
        _start_over(request, brought.entrypoint)
    if prefect_settings.sources(os.environ, os.getcwd()) != settings:  # noqa: PTH109
        _read_settings()
    flow = upstream.load_flow(brought.entrypoint)
    hooks_by_kind: dict[messages.HookKind, Any] = {
        "cancellation": flow.on_cancellation_hooks,
        "crashed": flow.on_crashed_hooks,
    }
    _tell(line, messages.Loaded(hooks=[kind for kind, hooks in hooks_by_kind.items() if hooks]))
    return flow


def _bring(flow_run: FlowRun, request: Request) -> messages.Brought:
    """Run the pull steps; return the location of the code."""
    deployment = DeploymentResponse.model_validate(request.deployment)
    start, path = Path.cwd(), list(sys.path)
    # Without a path, the code is where the run starts; set it so that the log names it.
    named = deployment.model_copy(update={"path": deployment.path or str(start)})
    with problems.step("The code of the flow cannot be brought"):
        run_coro_as_sync(upstream.bring_code(_CachedDeployment(named), flow_run))
    if Path.cwd() != start:
        sys.path.remove(str(start))  # its files could shadow modules of the flow
    os.environ["PYTHONPATH"] = upstream.python_path(start, path)
    return messages.Brought(
        directory=str(Path.cwd()),
        entrypoint=upstream.runtime_entrypoint(cast("str", deployment.entrypoint)),
        path=[each for each in sys.path if each not in path],
        python_path=os.environ["PYTHONPATH"],
    )


def _start_over(request: Request, entrypoint: str) -> NoReturn:
    """Replace this process by a new interpreter, since a pull step has changed packages."""
    run_coro_as_sync(APILogHandler.aflush())
    control = {name: value for name, value in request.env.items() if name in CONTROL}
    env = {**os.environ, **control, "PREFECT__FLOW_ENTRYPOINT": entrypoint}
    os.execve(sys.executable, [sys.executable, "-m", "prefect.engine"], env)  # noqa: S606


def _run_hooks(kind: str, flow_run: FlowRun, flow: Flow[..., Any], state: State) -> int:
    """Run hooks for a run whose own process is gone; return the exit code."""

    async def resolve_flow(_: FlowRun) -> Flow[..., Any]:
        return flow

    runner = upstream.HookRunner(resolve_flow=resolve_flow)
    if kind == "crashed":
        run_coro_as_sync(runner.run_crashed_hooks(flow_run, state))
    else:
        run_coro_as_sync(runner.run_cancellation_hooks(flow_run, state))
    return 0


class _CachedDeployment:
    """A client that has read the deployment already, and asks the server for blocks only."""

    def __init__(self, deployment: DeploymentResponse) -> None:
        self._deployment = deployment

    async def read_deployment(self, deployment_id: UUID) -> DeploymentResponse:  # noqa: ARG002
        return self._deployment

    async def read_block_document(self, *args: Any, **kwargs: Any) -> Any:
        async with get_client() as client:
            return await client.read_block_document(*args, **kwargs)


class _Observer:
    """Replaces Prefect's observer of suspensions: the worker observes them for all its runs."""

    def __init__(self, line: socket.socket, flow_run_id: UUID) -> None:
        self._line = line
        self._flow_run_id = flow_run_id

    @contextmanager
    def observe(
        self,
        flow_run_id: UUID,
        request: Request,
        polling_interval: float = 10,  # noqa: ARG002
    ) -> Iterator[None]:
        """Mark `request` when the worker reports that the run is suspended."""
        if flow_run_id == self._flow_run_id:
            threading.Thread(target=self._listen, args=(request,), daemon=True).start()
        yield

    def _listen(self, request: Any) -> None:
        with contextlib.suppress(OSError, EOFError):
            suspended = messages.Suspended.decode(framing.receive(self._line)[0])
            request.mark_requested(State.model_validate(suspended.state))


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1


def _terminated(number: int, frame: Any) -> None:  # noqa: ARG001
    """Deliver the log, which the default handler would lose, then die by SIGTERM.

    While a flow runs, the engine handles the signal, and sends it again when it is done.
    """
    signal.signal(number, signal.SIG_DFL)
    atexit._run_exitfuncs()  # noqa: SLF001
    sys.stdout.flush()
    sys.stderr.flush()
    os.kill(os.getpid(), number)


def _end(code: int) -> NoReturn:
    """Do what an interpreter does when it exits, except for freeing the heap."""
    try:
        threading._shutdown()  # type: ignore[attr-defined] # noqa: SLF001
        atexit._run_exitfuncs()  # noqa: SLF001
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(code)
