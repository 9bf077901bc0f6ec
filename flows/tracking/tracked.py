"""The decorators `flow` and `task`, and functions for a flow run that spans several processes."""

from __future__ import annotations

import functools
import inspect
import logging
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar, cast

from . import capture
from .recorder import Line, Recorder, Vital
from .runs import FlowRun, Run, TaskRun, now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .server import Server

F = TypeVar("F", bound=Callable[..., Any])
log = logging.getLogger("tracking")

_recorder = Recorder()
_current: ContextVar[Run | None] = ContextVar("tracked_run", default=None)


def flow(*, name: str, log_prints: bool = False) -> Callable[[F], F]:
    """Track each call of the function as a flow run, below the current run if there is one.

    Log messages go to the log of the run, and with `log_prints` also what is printed.
    """

    def make() -> Run:
        run = FlowRun(name, _here())
        run.log_prints = run.log_prints or log_prints
        return run

    return _decorator(make)


def task(*, name: str) -> Callable[[F], F]:
    """Track each call of the function as a task run of the current flow run."""
    return _decorator(lambda: TaskRun(name, _here()))


@contextmanager
def part_of(name: str, key: str) -> Iterator[None]:
    """Track what happens inside the block as part of the flow run `key` of the flow `name`.

    This is for a job whose steps are separate processes. The first of them creates the flow run,
    and `end` ends it.
    """
    with _Tracked(lambda: FlowRun(name, key=key), ends=False):
        yield


def end(name: str, key: str, error: str | None = None) -> None:
    """End the flow run `key` of the flow `name`: as Failed if there is an error, else Completed."""
    state = {"type": "FAILED", "message": error} if error else {"type": "COMPLETED"}
    run = FlowRun(name, key=key)
    with _harmless():
        _recorder.send(Vital(lambda server: run.end(server, state)))
        _recorder.flush()


class _Tracked:
    """Tracks a `with` block as a run, and never lets an error of its own escape."""

    def __init__(self, make: Callable[[], Run], *, ends: bool = True) -> None:
        self._make, self._ends = make, ends
        self._run: Run | None = None

    def __enter__(self) -> None:
        with _harmless():
            capture.install(_take)
            run = self._make()
            self._token = _current.set(run)
            _recorder.open.append(run)
            self._run = run
            _recorder.send(run.id)
            if self._ends and isinstance(run, FlowRun):
                _recorder.beating.append(run)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        run = self._run
        if run is None:
            return
        with _harmless():
            if run in _recorder.beating:
                _recorder.beating.remove(run)  # before the end: no heartbeat may follow it
            if self._ends:
                self._end(run, error)
        with _harmless():
            _current.reset(self._token)
            if run in _recorder.open:
                _recorder.open.remove(run)
            if not _recorder.open:
                _recorder.flush()

    @staticmethod
    def _end(run: Run, error: BaseException | None) -> None:
        if error and not _asked_to_end(error):
            lines = traceback.format_exception(type(error), error, error.__traceback__)
            _send_line(run, "tracking", logging.ERROR, capture.clean("".join(lines)))
        state = _state(error)

        def end_run(server: Server) -> None:
            run.end(server, state)

        _recorder.send(Vital(end_run) if isinstance(run, FlowRun) else end_run)


def _decorator(make: Callable[[], Run]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{function.__qualname__} is a generator, whose steps cannot be told apart from "
                "those of its caller: track the functions that it calls instead"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                with _Tracked(make):
                    return await function(*args, **kwargs)

            return cast("F", run_async)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with _Tracked(make):
                return function(*args, **kwargs)

        return cast("F", run)

    return decorate


def _here() -> Run | None:
    """Return the current run; in a thread that does not have one, the outermost run of the job."""
    return _current.get() or (_recorder.open[0] if _recorder.open else None)


def _take(name: str, level: int, message: str) -> None:
    run = _here()
    if run and (name != "print" or run.log_prints):
        _send_line(run, name, level, message)


def _send_line(run: Run, name: str, level: int, message: str) -> None:
    line = {"name": name, "level": level, "message": message, "timestamp": now()}
    within = run.flow_run

    def body(server: Server) -> dict[str, Any]:
        return {
            **line,
            "flow_run_id": within.id(server) if within else None,
            "task_run_id": run.id(server) if run.kind == "task" else None,
        }

    _recorder.send(Line(body))


def _state(error: BaseException | None) -> dict[str, str]:
    if error is None or _asked_to_end(error):
        return {"type": "COMPLETED"}
    failed = isinstance(error, (Exception, SystemExit))
    message = capture.clean(f"{type(error).__name__}: {error}")
    return {"type": "FAILED" if failed else "CRASHED", "message": message}


def _asked_to_end(error: BaseException) -> bool:
    return isinstance(error, SystemExit) and error.code in {None, 0}


@contextmanager
def _harmless() -> Iterator[None]:
    try:
        yield
    except Exception:
        log.warning("tracking lost something; the job goes on", exc_info=True)
