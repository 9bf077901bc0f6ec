"""Small parts of the prefork worker: process groups, warm packages, random numbers, lost forks."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil

from prefect_prefork.common import linux
from prefect_prefork.forked import randomness

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_group_lives_as_long_as_one_of_its_processes_has_not_ended() -> None:
    script = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True
    ) as leader:
        assert leader.stdout
        child = psutil.Process(int(leader.stdout.readline()))
        leader.wait()
        assert linux.group_lives(leader.pid)
        child.kill()
        child.wait()
        assert not linux.group_lives(leader.pid)


def test_a_module_that_starts_a_thread_is_refused_with_all_that_imports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("from package import harmless, monitor\n")
    (package / "harmless.py").write_text("")
    (package / "monitor.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    script = (
        "import json; from prefect_prefork.common import linux;"
        "from prefect_prefork.forked import preload;"
        "found = preload.keep_warm(['json', 'package', 'package.monitor', 'colorsys', 'missing']);"
        "print(json.dumps([*found, linux.threads()]))"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout
    kept, reasons, threads = json.loads(said)
    assert kept == ["json", "colorsys"]
    assert set(reasons) == {"package", "package.monitor", "missing"}
    assert threads == 1


def test_forks_draw_numbers_of_their_own_but_where_a_seed_was_given() -> None:
    with randomness.recording_seeds():
        unseeded, seeded, seeded_later = random.Random(), random.Random(42), random.Random()  # noqa: S311
        seeded_later.seed("a seed")
    before = [unseeded.getstate(), seeded.getstate(), seeded_later.getstate()]
    randomness.reseed(randomness.generators())
    after = [unseeded.getstate(), seeded.getstate(), seeded_later.getstate()]
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True, True]
    assert seeded.random() == random.Random(42).random()  # noqa: S311


def test_a_fork_that_nobody_waits_for_any_more_runs_nothing() -> None:
    script = (
        "import os, socket; from prefect_prefork.forked import child;"
        "ours, theirs = socket.socketpair();"
        "pid = os.fork();"
        "pid or (ours.close(), child.main(theirs, 0, None, 'not read', []));"
        "theirs.close(); ours.recv(100); ours.close();"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == ("1", "")
