"""Both backends describe a failed service in the same words."""

import subprocess
import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from scripts.backends import children
from scripts.backends.docker import containers
from server.errors import REPORT_VARIABLE, MistakeError, StackError, report_line

FAILS = (
    "from server.errors import MistakeError, exit_with\n"
    "def main() -> None:\n"
    "    raise MistakeError('no such pool', expected='one', do='make one')\n"
    "print('a table')\n"
    "exit_with(main)\n"
)


def test_a_child_that_ends_with_an_error_passes_it_on() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FAILS],
        check=False,
        env={"PYTHONPATH": ".", REPORT_VARIABLE: "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    error = children.failure("bootstrap", ended.returncode, ended.stdout)
    assert type(error) is MistakeError
    assert (error.what, error.expected, error.do) == ("no such pool", "one", "make one")


@pytest.mark.parametrize("code", [1, 2, 137])
@pytest.mark.parametrize("said", [report_line(StackError("it failed")), "half a li"])
def test_both_backends_say_the_same(code: int, said: str) -> None:
    state = SimpleNamespace(exit_code=code)
    container: Any = SimpleNamespace(state=state, logs=lambda since: said if since else "")
    in_docker = containers.failure("migrate", container, datetime.now(UTC))
    without = children.failure("migrate", code, said)
    assert (type(in_docker), str(in_docker)) == (type(without), str(without))


def test_a_child_that_was_killed_is_told_of_by_its_last_lines() -> None:
    before = report_line(StackError("an earlier attempt"))
    error = children.failure("migrate", -9, f"{before}\nhalf a li")
    assert str(error) == (
        "migrate failed\n"
        "  expected: exit code 0\n"
        "  found:    exit code -9\n"
        "  do:       scripts/stack logs migrate\n"
        "\n"
        "  | half a li"
    )
