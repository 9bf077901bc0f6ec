"""Stops, takeovers of a journal and cancellations leave no run without an end."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, Mock
from uuid import uuid4

from prefect.client.schemas.objects import FlowRun
from prefect.states import Running

from prefect_prefork import shutdown
from prefect_prefork.recovery import journal
from prefect_prefork.recovery.journal import Journal
from prefect_prefork.runs import cancellation
from server.services import worker

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from prefect.client.schemas.objects import State

LOGGER = logging.getLogger(__name__)


def test_a_stop_fits_into_the_time_after_which_the_worker_is_killed() -> None:
    # tests/unit/test_compose.py compares compose.yaml with the module of the service.
    interpreter_seconds = 2  # to end, when the worker has stopped
    assert worker.SERVICE.grace_seconds > shutdown.WHOLE_SECONDS + interpreter_seconds


def test_a_folder_that_is_taken_for_a_dead_workers_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[Path] = []

    def flock(file: int, how: int) -> None:
        if not removed:  # another worker was faster
            removed.extend(tmp_path.iterdir())
            shutil.rmtree(removed[0])
        fcntl.flock(file, how)

    monkeypatch.setattr(journal, "fcntl", SimpleNamespace(**{**vars(fcntl), "flock": flock}))
    held = Journal(tmp_path, LOGGER)
    held.take(uuid4(), None)
    assert len(removed) == 1
    assert Journal(tmp_path, LOGGER).take_over() == []


def run_in(state: State) -> FlowRun:
    return FlowRun(id=uuid4(), flow_id=uuid4(), state=state)


def context(once: AsyncMock, alive: list[bool]) -> Any:
    """A context whose one process is alive each time that `alive` has True."""
    handle = Mock(pid=1, is_alive=lambda: alive.pop(0))
    return SimpleNamespace(
        client=SimpleNamespace(read_flow_run=AsyncMock(return_value=run_in(Running()))),
        process_manager=SimpleNamespace(get=lambda _: handle if alive else None),
        _cancellation_manager=SimpleNamespace(cancel=once),
    )


def test_a_cancellation_is_tried_as_long_as_the_process_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cancellation, "RETRY_SECONDS", (0, 0))
    once = AsyncMock(side_effect=[RuntimeError("on purpose")] * 20 + [None])
    cancellations = cancellation.Cancellations(context(once, [True]), LOGGER)
    asyncio.run(cancellations.cancel_by_id(uuid4()))
    assert once.await_count == 21


def test_a_run_has_one_cancellation_at_a_time() -> None:
    async def check() -> None:
        go = asyncio.Event()

        async def wait(*_: object, **__: object) -> None:
            await go.wait()

        once = AsyncMock(side_effect=wait)
        cancellations = cancellation.Cancellations(context(once, [True]), LOGGER)
        run = run_in(Running())
        both = [asyncio.create_task(cancellations.cancel(run)) for _ in "ab"]
        await asyncio.sleep(0)
        waiting = asyncio.create_task(cancellations.over(run.id))
        await asyncio.sleep(0)
        assert not waiting.done()
        go.set()
        await asyncio.gather(*both, waiting)
        assert once.await_count == 1

    asyncio.run(check())


def test_a_process_that_does_not_end_is_killed_sooner_when_there_is_a_hurry() -> None:
    async def check() -> None:
        alive = [True] * 1000
        cancellations = cancellation.Cancellations(context(AsyncMock(), alive), LOGGER)
        handle = cancellations._processes.get(uuid4())  # noqa: SLF001
        killing = asyncio.create_task(cancellations.kill(uuid4(), 600))
        await asyncio.sleep(0)
        cancellations.hurry(0)
        await asyncio.wait_for(killing, 10)
        handle.graceful_kill.assert_called_once_with()  # type: ignore[union-attr]
        handle.hard_kill.assert_called_once_with()  # type: ignore[union-attr]

    asyncio.run(check())
