"""What a container says that was started wrongly."""

import subprocess
import sys

import pytest

from server import services
from server.errors import MistakeError, reported
from server.settings import ROOT

OWN_COMMAND = [each.name for each in services.every() if not each.has_entrypoint]


@pytest.mark.parametrize("arguments", [[], ["nothing"], *([name] for name in OWN_COMMAND)])
def test_a_container_that_is_told_no_service_names_those_that_it_could_be(
    arguments: list[str],
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "server.entrypoint", *arguments],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == MistakeError.exit_code
    assert ended.stderr.startswith("error: the container was not told which service it is\n")
    error = reported(ended.stderr)
    assert error
    assert error.expected == "one of migrate, server, bootstrap, worker"
