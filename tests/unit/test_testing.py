"""Which tests run on a machine that lacks what the others need."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import testing
from scripts.testing import Suite
from server.errors import MistakeError
from server.settings import ROOT


@pytest.fixture
def _bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Docker and Chromium."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("_bare")
def test_a_machine_without_docker_and_chromium_runs_the_rest_and_says_so() -> None:
    chosen, left_out = testing.plan(Suite.all)
    assert chosen == [Suite.unit, Suite.embedded, Suite.faults]
    assert list(left_out) == ["docker", "browser", "what takes minutes"]
    assert left_out["browser"] == "no such command on the PATH"


@pytest.mark.usefixtures("_bare")
def test_the_browser_without_chromium_is_a_mistake_that_says_what_to_install() -> None:
    with pytest.raises(MistakeError, match="apt install chromium"):
        testing.plan(Suite.browser)


@pytest.mark.usefixtures("_bare")
def test_the_browser_without_docker_runs_and_says_that_docker_is_left_out(tmp_path: Path) -> None:
    chromium = tmp_path / "chromium"
    chromium.touch()
    chromium.chmod(0o755)
    chosen, left_out = testing.plan(Suite.browser)
    assert chosen == [Suite.browser]
    assert list(left_out) == ["browser with Docker"]


@pytest.mark.usefixtures("_bare")
def test_the_slow_tests_are_run_where_they_can_be_and_what_is_left_out_is_said() -> None:
    chosen, left_out = testing.plan(Suite.slow)
    assert chosen == [Suite.embedded]
    assert list(left_out) == ["docker", "browser"]


@pytest.mark.usefixtures("_bare")
def test_the_base_images_without_an_engine_are_a_mistake_that_says_how_to_start_one() -> None:
    argv = [sys.executable, "-m", "tests.images", "python-image", "postgres-image"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert ".ci/docker-engine" in done.stderr


def test_the_faults_by_name_are_run_whole() -> None:
    assert testing.plan(Suite.faults) == ([Suite.faults], {})
