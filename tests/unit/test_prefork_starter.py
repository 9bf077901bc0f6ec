"""What the starter of a run learns from its process, and what it leaves when that has ended."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psutil
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Crashed, Running

from prefect_prefork.common import framing
from prefect_prefork.common.messages import Brought, Loaded, Problem
from prefect_prefork.runs import hooks, starters
from prefect_prefork.runs.hooks import ForkedHooks
from prefect_prefork.runs.job import Job
from prefect_prefork.runs.starters import ForkStarter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from prefect_prefork.common.messages import FromRun

# Starts a process and writes down its pid, sends what it was given, and ends with a code.
RUN = """
import pathlib, socket, subprocess, sys
line, said, note, code = sys.argv[1:]
child = subprocess.Popen(["sleep", "600"])
pathlib.Path(note).write_text(str(child.pid))
with socket.socket(fileno=int(line)) as line:
    line.sendall(bytes.fromhex(said))
sys.exit(int(code))
"""
BROUGHT = Brought(directory="/code", entrypoint="a.py:a", path=[], python_path="")
PROBLEM = Problem(message="SyntaxError in a.py, line 1", traceback="all of it")


class Forking:
    """Takes the place of the templates: starts a process that sends `said` and ends with `code`."""

    def __init__(self, note: Path, said: Sequence[FromRun], code: int) -> None:
        sent = b"".join(framing.frame(each.encode()) for each in said)
        self._arguments = [sent.hex(), str(note)]
        self._code = code
        self.asked: list[Any] = []

    async def fork(self, _: object, request: Any, files: Sequence[int]) -> int:
        self.asked.append(request)
        command = [sys.executable, "-c", RUN, str(files[0]), *self._arguments, str(self._code)]
        os.set_inheritable(files[0], True)  # noqa: FBT003
        # Not with `subprocess`, which would wait for the process as well.
        return os.posix_spawn(  # noqa: ASYNC221 - it takes a millisecond
            sys.executable, command, os.environ, setsid=True
        )


@pytest.fixture(autouse=True)
def _logs_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log to this process, not to a server."""
    for module in (starters, hooks):
        monkeypatch.setattr(module, "flow_run_logger", lambda _: logging.getLogger("of a run"))


@pytest.fixture
def flow_run() -> FlowRun:
    return FlowRun(id=uuid4(), flow_id=uuid4(), state=Running())


def start_and_wait(
    folder: Path, flow_run: FlowRun, said: Sequence[FromRun], code: int
) -> tuple[ForkStarter, Forking, ForkedHooks]:
    """Start a process and wait for its end; return its starter, the templates and the hooks."""
    templates: Any = Forking(folder / "child", said, code)
    of_runs = ForkedHooks(templates)
    job = Job(None, {}, folder, temporary=False, preload=[], stream_output=True)
    of_runs.add(flow_run.id, job)
    control: Any = SimpleNamespace(register=lambda _: (1, "token"), unregister=lambda _: None)
    lines: Any = SimpleNamespace(add=lambda *_: None, remove=lambda _: None)
    starter = ForkStarter(job, job.kind(), folder / "end", templates, control, lines, of_runs)
    with asyncio.Runner() as runner:
        runner.run(starter.start(flow_run))
    return starter, templates, of_runs


@pytest.mark.parametrize(("code", "lives"), [(1, False), (0, True)])
def test_what_a_crashed_run_has_started_ends_with_it(
    tmp_path: Path, flow_run: FlowRun, code: int, *, lives: bool
) -> None:
    start_and_wait(tmp_path, flow_run, [], code)
    child = psutil.Process(int((tmp_path / "child").read_text()))
    try:
        if not lives:
            child.wait(10)
        assert child.is_running() == lives
    except psutil.NoSuchProcess:
        assert not lives
    finally:
        if lives:
            child.kill()


def test_why_a_flow_could_not_be_loaded_is_in_the_log_once_and_known_to_the_worker(
    tmp_path: Path,
    flow_run: FlowRun,
    caplog: pytest.LogCaptureFixture,
) -> None:
    starter, _, _ = start_and_wait(tmp_path, flow_run, [BROUGHT, PROBLEM], 1)
    assert starter.problem == PROBLEM.message
    assert [each.getMessage() for each in caplog.records if each.name == "of a run"] == [
        f"{PROBLEM.message}\n{PROBLEM.traceback}"
    ]


@pytest.mark.parametrize(
    ("said", "forks"),
    [
        ([], 0),  # its pull steps have not ended
        ([BROUGHT, PROBLEM], 0),
        ([BROUGHT, Loaded(hooks=[])], 0),
        ([BROUGHT, Loaded(hooks=["cancellation"])], 0),
        ([BROUGHT, Loaded(hooks=["crashed"])], 1),
        ([BROUGHT], 1),  # while the flow was imported
    ],
)
def test_a_process_for_hooks_is_started_only_of_a_flow_that_may_have_them(
    tmp_path: Path, flow_run: FlowRun, said: list[FromRun], forks: int
) -> None:
    _, templates, of_runs = start_and_wait(tmp_path, flow_run, said, 1)
    del templates.asked[:]
    asyncio.run(of_runs.run_crashed_hooks(flow_run, Crashed()))
    assert [(each.hooks, each.brought) for each in templates.asked] == forks * [
        ("crashed", BROUGHT.model_dump())
    ]
