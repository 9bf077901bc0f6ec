"""Two commands at once on the same stack."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.embedded.processes import processes
from tests.faults import watch
from tests.faults.claims import works
from tests.stack import wait_for

if TYPE_CHECKING:
    from tests.faults.conftest import Measured
    from tests.faults.ground import Ground
    from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SECONDS = 180


def start_command(stack: Stack, *arguments: str) -> subprocess.Popen[str]:
    """Start a command; `output_of` returns what it prints."""
    return subprocess.Popen(
        ["scripts/stack", *arguments],
        cwd=stack.root,
        env=stack.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def output_of(process: subprocess.Popen[str]) -> str:
    """Wait for a command; return what it printed, without the login, which no page may show."""
    lines = process.communicate(timeout=SECONDS)[0].splitlines()
    return "\n".join(line for line in lines if not line.startswith("login"))


@pytest.mark.fault(
    "two `up` at once", promises=[10], bound="both exit with 0, one says that it waits"
)
def test_two_up_at_once_both_succeed(ground: Ground, measured: Measured) -> None:
    ground.stack.down()
    began = time.monotonic()
    both = [start_command(ground.stack, "up", "--embedded") for _ in range(2)]
    said = [output_of(each) for each in both]
    measured["exit codes"] = " and ".join(str(each.returncode) for each in both)
    measured["both, s"] = round(time.monotonic() - began, 1)
    assert [each.returncode for each in both] == [0, 0], said
    assert any("wait" in each for each in said), said
    assert watch.ask(ground.stack).well
    works(ground)


@pytest.mark.fault(
    "`down` while `up` goes on",
    promises=[10],
    bound="both exit with 0, one says that it waits, nothing runs afterwards",
)
def test_down_during_up_waits_for_it(ground: Ground, measured: Measured) -> None:
    ground.stack.down()
    up = start_command(ground.stack, "up", "--embedded")
    wait_for("a supervisor", (ground.base / "state.json").exists)
    down = start_command(ground.stack, "down")
    said = [output_of(each) for each in (up, down)]
    measured["exit codes"] = f"{up.returncode} and {down.returncode}"
    assert (up.returncode, down.returncode) == (0, 0), said
    assert any("wait" in each for each in said), said
    assert processes(ground.stack) == []
    assert not watch.ask(ground.stack).well


@pytest.mark.fault(
    "`up` while `down` goes on",
    promises=[10],
    bound="both exit with 0, the stack is up afterwards",
)
def test_up_during_down_waits_for_it(ground: Ground, measured: Measured) -> None:
    down = start_command(ground.stack, "down")
    wait_for("stack that is not well", lambda: not watch.ask(ground.stack).well)
    up = start_command(ground.stack, "up", "--embedded")
    said = [output_of(each) for each in (up, down)]
    measured["exit codes"] = f"{up.returncode} and {down.returncode}"
    assert (up.returncode, down.returncode) == (0, 0), said
    assert watch.ask(ground.stack).well
    works(ground)
