"""The private parts of Prefect that the worker keeps for its lifetime work with a real server."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import anyio
import anyio.abc
from prefect.client.schemas.objects import State, StateType
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling, Running

from flows.hello import hello
from prefect_prefork import upstream
from prefect_prefork.runs.process import handle
from tests.stack import NASTY, Stack

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

SECONDS = 60


class Hooks:
    """A hook runner that records which hooks it was asked for.

    Crashed hooks count only if the state, which the server may have replaced, is a crash.
    """

    def __init__(self) -> None:
        self.ran: list[str] = []

    async def run_crashed_hooks(self, _flow_run: FlowRun, state: State[Any]) -> None:
        if state.is_crashed():
            self.ran.append("crashed")

    async def run_cancellation_hooks(self, _flow_run: FlowRun, _state: State[Any]) -> None:
        self.ran.append("cancellation")


class Program:
    """Starts the Python program `code` instead of a flow run."""

    def __init__(self, code: str) -> None:
        self.argv = [sys.executable, "-c", code]

    async def start(
        self,
        _flow_run: FlowRun,
        task_status: anyio.abc.TaskStatus[upstream.ProcessHandle] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        async with await anyio.open_process(self.argv, start_new_session=True) as process:
            task_status.started(handle(process))
            await process.wait()


async def running(client: PrefectClient) -> FlowRun:
    """Create a run that is Running on the server although nothing executes it."""
    return await client.create_flow_run(hello, state=Running())


def executor(
    context: upstream.FlowRunExecutorContext, flow_run: FlowRun, code: str, hooks: Hooks
) -> upstream.FlowRunExecutor:
    """Return an executor that runs the program `code` as `flow_run`."""
    return context.create_executor(
        flow_run, Program(code), hook_runner=hooks, propose_submitting=False
    )


def at(stack: Stack, claim: Coroutine[Any, Any, None]) -> None:
    """Run `claim` with clients of `stack`, for at most `SECONDS`."""

    async def bounded() -> None:
        async with asyncio.timeout(SECONDS):
            await claim

    settings = {PREFECT_API_URL: f"{stack.url}/api", PREFECT_API_AUTH_STRING: f"admin:{NASTY}"}
    with temporary_settings(settings):
        asyncio.run(bounded())


def test_one_observer_hears_of_the_suspension_of_each_run_that_it_watches(stack: Stack) -> None:
    async def claim() -> None:
        heard: asyncio.Queue[tuple[UUID, str]] = asyncio.Queue()
        observer = upstream.SuspendingObserver(
            on_suspended=lambda run, state: heard.put_nowait((run, state.name or ""))
        )
        async with upstream.FlowRunExecutorContext() as context, observer:
            runs = [await running(context.client) for _ in range(2)]
            for run in runs:
                observer.watch(run)
                state = State(type=StateType.PAUSED, name="Suspended")
                await context.client.set_flow_run_state(run.id, state, force=True)
            told = {await heard.get() for _ in runs}
            assert told == {(run.id, "Suspended") for run in runs}
            observer.remove_in_flight_flow_run_id(runs[0].id)

    at(stack, claim())


def test_an_executor_starts_a_process_and_reports_one_that_dies(stack: Stack) -> None:
    async def claim() -> None:
        hooks = Hooks()
        async with upstream.FlowRunExecutorContext() as context:
            run = await running(context.client)
            await executor(context, run, "raise SystemExit(3)", hooks).submit()
            ended = (await context.client.read_flow_run(run.id)).state
            assert ended
            assert ended.is_crashed()
            assert "status code: 3" in str(ended.message)
            assert context.process_manager.flow_run_ids() == set()
        assert hooks.ran == ["crashed"]

    at(stack, claim())


def test_an_executor_leaves_the_end_to_a_process_that_succeeds(stack: Stack) -> None:
    async def claim() -> None:
        hooks = Hooks()
        async with upstream.FlowRunExecutorContext() as context:
            run = await running(context.client)
            await executor(context, run, "", hooks).submit()
            state = (await context.client.read_flow_run(run.id)).state
            assert state
            assert state.is_running()
        assert hooks.ran == []

    at(stack, claim())


def test_a_run_that_is_cancelled_is_ended_by_the_observer_of_the_worker(stack: Stack) -> None:
    async def claim() -> None:
        hooks = Hooks()
        async with upstream.FlowRunExecutorContext() as context:
            assert isinstance(context._observer, upstream.CancellingObserver)  # noqa: SLF001
            run = await running(context.client)
            sleeping = executor(context, run, "import time; time.sleep(600)", hooks)
            async with anyio.create_task_group() as tasks:
                await tasks.start(sleeping.submit)
                await context.client.set_flow_run_state(run.id, Cancelling())
        async with (
            upstream.FlowRunExecutorContext() as context
        ):  # the first context has ended all it started
            state = (await context.client.read_flow_run(run.id)).state
            assert state
            assert state.name == "Cancelled"
        assert hooks.ran == ["cancellation"]

    at(stack, claim())
