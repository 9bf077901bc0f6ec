"""Runs the tests that this machine can run, and prints which were left out, and why."""

from __future__ import annotations

import enum
import os
import shutil
import subprocess
import sys

from scripts import choose, report
from server import settings
from server.errors import MistakeError
from server.settings import ROOT

PROCESSES = 3  # of pytest: a stack waits some of its time, and a small machine has two cores
RELIABILITY = ROOT / "docs" / "reliability.json"  # the page reliability.md is written beside it


class Suite(enum.StrEnum):
    """The suites, by what the tests need and how long they take."""

    unit = "unit"
    embedded = "embedded"
    docker = "docker"
    browser = "browser"
    faults = "faults"
    slow = "slow"
    images = "images"
    all = "all"


# The suites that consist of others; each other suite is the folder of tests of its name.
_COMBINED = {
    Suite.all: [Suite.unit, Suite.docker, Suite.browser, Suite.embedded, Suite.faults],
    Suite.slow: [Suite.docker, Suite.browser, Suite.embedded],
}


def run(suite: Suite) -> int:
    """Run `suite` and return the exit code of pytest.

    Raises:
        MistakeError: this machine cannot run a suite that was asked for by name.
    """
    _install_test_packages()
    if suite is Suite.images:
        return _make_images()
    chosen, left_out = plan(suite)
    folders = [str(ROOT / "tests" / each.value) for each in chosen]
    report.out.print(f"running {', '.join(chosen)}")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "STACK_"))}
    options = _options(suite)
    code = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *folders], check=False, cwd=ROOT, env=env
    ).returncode
    for name, reason in left_out.items():
        report.out.print(f"left out: {name}: {reason}")
    if not left_out:
        report.out.print("left out: nothing")
    return code


def plan(suite: Suite) -> tuple[list[Suite], dict[str, str]]:
    """Return the suites to run for `suite`, and the reason for each one that is left out.

    Raises:
        MistakeError: this machine cannot run a suite that was asked for by name.
    """
    chosen: list[Suite] = []
    left_out: dict[str, str] = {}
    combined = _COMBINED.get(suite)
    for part in combined or [suite]:
        problem = _obstacle(part)
        if problem and not combined:
            raise problem
        if problem:
            left_out[part.value] = str(problem.found)
        else:
            chosen.append(part)
    if Suite.browser in chosen and (problem := _obstacle(Suite.docker)):
        left_out["browser with Docker"] = str(problem.found)
    if suite is Suite.all:
        left_out["what takes minutes"] = "asked for by name: scripts/stack test slow, test faults"
    return chosen, left_out


def _options(suite: Suite) -> list[str]:
    """Return the options of pytest for `suite`."""
    if suite is Suite.faults:  # one at a time: it measures, and writes a page about it
        return ["--reliability", str(RELIABILITY)]
    # A file goes to one process as a whole; tests/conftest.py says in which order.
    parallel = ["-n", str(PROCESSES), "--dist", "loadscope", "--no-loadscope-reorder"]
    durations = ["--durations", "25", "--durations-min", "20"]
    return [*parallel, *durations, "-m", "slow" if suite is Suite.slow else "not slow"]


def _install_test_packages() -> None:
    """Install the packages of the tests' lock into the environment of this process."""
    env = {**os.environ, "STACK_LOCK": "requirements-test.lock"}
    argv = ["sh", str(ROOT / "scripts" / "python"), "-c", ""]
    if code := subprocess.run(argv, check=False, env=env).returncode:
        sys.exit(code)  # the script has printed why


def _obstacle(suite: Suite) -> MistakeError | None:
    """Why this machine cannot run `suite`; None when it can."""
    what = f"the tests {suite.value!r} cannot run here"
    if suite is Suite.docker and (problem := choose.docker(settings.load()).problem()):
        return MistakeError(
            what,
            expected="a Docker engine that answers",
            found=f"{problem.what} ({problem.found})",
            do="start Docker, or run the others: scripts/stack test",
        )
    if suite is Suite.browser and not shutil.which("chromium"):
        return MistakeError(
            what,
            expected="Chromium, as the command chromium",
            found="no such command on the PATH",
            do="apt install chromium, or run the others: scripts/stack test",
        )
    return None


def _make_images() -> int:
    """Build stand-ins for the base images, as the tests do; return the exit code."""
    values = settings.load()
    argv = [sys.executable, "-m", "tests.images", values.python_image, values.postgres_image]
    return subprocess.run(argv, check=False, cwd=ROOT).returncode
