"""Two commands at once: the second waits for the first, and says so."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from scripts.locks import hold
from server.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAITS = "import sys; sys.stdout.write('in\\n'); sys.stdout.flush(); sys.stdin.readline()"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Takes the place of a clone's `.stack`."""
    return tmp_path / ".stack"


@pytest.fixture
def first(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A command in another process that holds its turn until it is sent a line."""
    with command(folder, "up") as process:
        assert next_line(process) == "in"
        yield process
        process.kill()


def command(folder: Path, verb: str) -> subprocess.Popen[str]:
    """Start a process that takes its turn, prints `in`, and waits for a line."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom scripts.locks import hold\n"
        f"with hold('unit', {verb!r}, Path({str(folder)!r})):\n  {WAITS}\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def next_line(process: subprocess.Popen[str]) -> str:
    """Return the next line that the process prints."""
    assert process.stdout
    return process.stdout.readline().strip()


def test_the_second_says_whom_it_waits_for_and_then_has_its_turn(
    folder: Path, first: subprocess.Popen[str]
) -> None:
    with command(folder, "down") as second:
        assert second.stderr
        message = second.stderr.readline()
        assert message == (
            f"another scripts/stack command (pid {first.pid}: up) works on this stack; "
            "waiting for it\n"
        )
        assert second.poll() is None
        assert first.communicate("\n") == ("", "")
        assert next_line(second) == "in"
        second.communicate("\n")
    assert (first.returncode, second.returncode) == (0, 0)
    assert list(folder.iterdir()) == []


def test_one_that_was_killed_holds_nobody_up(folder: Path, first: subprocess.Popen[str]) -> None:
    first.kill()
    first.wait()
    with hold("unit", "up", folder):
        pass


def test_another_stack_is_not_waited_for(folder: Path, first: subprocess.Popen[str]) -> None:
    with hold("another", "up", folder):
        assert first.poll() is None


def test_other_users_cannot_hold_it_and_nothing_is_left(folder: Path) -> None:
    with hold("unit", "up", folder):
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
        (folder / "unit").mkdir()
    assert [path.name for path in folder.iterdir()] == ["unit"]


def test_where_it_cannot_be_made_the_command_finds_out_itself(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    with hold("unit", "up", folder):
        pass
    assert folder.is_file()
