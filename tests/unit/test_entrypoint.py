"""What a container says when it is started with the wrong command."""

import os
import subprocess
import sys

import pytest

from server import entrypoint, services
from server.errors import MistakeError, exit_with, reported
from server.settings import ROOT

OWN_COMMAND = [each.name for each in services.every() if not each.has_entrypoint]


@pytest.mark.parametrize("arguments", [[], ["nothing"], *([name] for name in OWN_COMMAND)])
def test_a_container_that_is_told_no_service_names_those_that_it_could_be(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["entrypoint.py", *arguments])
    before = dict(os.environ)
    with pytest.raises(SystemExit) as ended:
        exit_with(entrypoint.main)
    assert ended.value.code == MistakeError.exit_code
    said = capsys.readouterr().err
    assert said.startswith("error: the container was not told which service it is\n")
    assert "expected: one of migrate, server, bootstrap, worker\n" in said
    assert os.environ == before


def test_the_process_of_such_a_container_reports_the_error_to_who_reads_its_log() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "server.entrypoint"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == MistakeError.exit_code
    error = reported(ended.stderr)
    assert error
    assert error.what == "the container was not told which service it is"
    assert error.expected == "one of migrate, server, bootstrap, worker"
