"""The verdict of a soak says what hung, what was left behind and what has grown."""

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import AsyncMock, Mock

import pytest

from benchmarks import soak
from benchmarks.memory import Footprint
from prefect_prefork.runs.template_process import Kind, TemplateError
from prefect_prefork.runs.templates import Templates

BEFORE = soak.Rest(Footprint(pss_bytes=100, processes=2, threads=10, descriptors=40), strays=3)


def test_a_soak_that_leaves_nothing_passes() -> None:
    after = Footprint(pss_bytes=109, processes=2, threads=11, descriptors=45)
    assert soak.verdict(BEFORE, soak.Rest(after, strays=3)) == "passed"


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (soak.Rest(Footprint(100, 3, 10, 40), 3), "1 processes left"),
        (soak.Rest(Footprint(100, 2, 10, 90), 3), "50 descriptors left"),
        (soak.Rest(Footprint(100, 2, 20, 40), 3), "10 threads left"),
        (soak.Rest(Footprint(150, 2, 10, 40), 3), "memory has grown by 50%"),
        (soak.Rest(BEFORE.worker, 5), "2 processes left outside of the worker"),
    ],
)
def test_a_soak_says_what_is_left(after: soak.Rest, verdict: str) -> None:
    assert soak.verdict(BEFORE, after) == verdict


def test_a_soak_says_all_that_went_wrong() -> None:
    after = soak.Rest(Footprint(100, 2, 20, 40), 3)
    verdict = soak.verdict(BEFORE, after, ["no end of 50 runs", "2 templates failed"])
    assert verdict == "no end of 50 runs; 2 templates failed; 10 threads left"


def test_a_soak_finds_what_only_the_log_of_the_worker_says(tmp_path: Path) -> None:
    log = (
        "WARNING | The template failed and is replaced: it has died\n"
        "INFO | nothing\n"
        "t.py:1: DeprecationWarning: This process (pid=7) is multi-threaded, use of fork() may\n"
        "WARNING | The template failed and is replaced: it has 2 threads by now\n"
    )
    assert soak.faults(log) == ["2 templates failed", "1 forks with threads"]
    assert soak.faults("INFO | nothing\n") == []


def test_the_line_of_a_failed_template_is_what_the_worker_writes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dead = AsyncMock()
    dead.fork.side_effect = TemplateError("it has died")
    of_worker = Templates(logging.getLogger("worker"))
    monkeypatch.setattr(of_worker, "_get", AsyncMock(return_value=dead))
    monkeypatch.setattr(of_worker, "_drop", AsyncMock())
    with pytest.raises(TemplateError):
        asyncio.run(of_worker.fork(Kind({}, [], "/"), Mock(), []))
    assert soak.faults(caplog.text) == ["1 templates failed"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.11 does not warn")
def test_a_fork_with_threads_is_found_in_the_log_of_a_process_with_the_filter_of_the_soak() -> None:
    code = (
        "import os, threading; stop = threading.Event();"
        "threading.Thread(target=stop.wait).start();"
        "pid = os.fork(); pid or os._exit(0); os.waitpid(pid, 0); stop.set()"
    )
    env = {**os.environ, "PYTHONWARNINGS": soak.WARNINGS}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
    )
    assert soak.faults(done.stderr) == ["1 forks with threads"]
