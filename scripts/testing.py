"""Chooses which tests this machine can run, runs them, and says what was left out and why."""

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

SIDE_BY_SIDE = 4  # processes that test; stacks wait most of the time, so twice as many as cores
RELIABILITY = ROOT / "docs" / "reliability.json"  # with the page of the same name beside it


class Suite(enum.StrEnum):
    """The tests by what they need, and by how long they take."""

    unit = "unit"
    embedded = "embedded"
    docker = "docker"
    browser = "browser"
    faults = "faults"
    slow = "slow"
    images = "images"
    all = "all"


# Suites that are those of several folders of tests; others are one.
_SEVERAL = {
    Suite.all: [Suite.unit, Suite.docker, Suite.browser, Suite.embedded, Suite.faults],
    Suite.slow: [Suite.docker, Suite.browser, Suite.embedded],
}


def run(suite: Suite) -> int:
    """Run `suite`; the exit code of what ran it.

    Raises:
        MistakeError: a suite was asked for by name that this machine cannot run.
    """
    _install()
    if suite is Suite.images:
        return _images()
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
    """The suites to run for `suite`, and what is left out, with the reason.

    Raises:
        MistakeError: a suite was asked for by name that this machine cannot run.
    """
    chosen: list[Suite] = []
    left_out: dict[str, str] = {}
    several = _SEVERAL.get(suite)
    for each in several or [suite]:
        problem = _why_not(each)
        if problem and not several:
            raise problem
        if problem:
            left_out[each.value] = str(problem.found)
        else:
            chosen.append(each)
    if Suite.browser in chosen and (problem := _why_not(Suite.docker)):
        left_out["browser with Docker"] = str(problem.found)
    if suite is Suite.all:
        left_out["what takes minutes"] = "asked for by name: scripts/stack test slow, test faults"
    return chosen, left_out


def _options(suite: Suite) -> list[str]:
    """How pytest is to run `suite`."""
    if suite is Suite.faults:  # one at a time, for it measures; the page says what
        return ["--reliability", str(RELIABILITY)]
    # Files go to processes whole and in the order of tests/conftest.py.
    side_by_side = ["-n", str(SIDE_BY_SIDE), "--dist", "loadscope", "--no-loadscope-reorder"]
    durations = ["--durations", "25", "--durations-min", "20"]
    return [*side_by_side, *durations, "-m", "slow" if suite is Suite.slow else "not slow"]


def _install() -> None:
    """Bring the environment to the lock with the tests' packages, then go on in it."""
    env = {**os.environ, "STACK_LOCK": "requirements-test.lock"}
    argv = ["sh", str(ROOT / "scripts" / "python"), "-c", ""]
    if code := subprocess.run(argv, check=False, env=env).returncode:
        sys.exit(code)  # it has said why


def _why_not(suite: Suite) -> MistakeError | None:
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


def _images() -> int:
    """Make the base images exist, by the means of the tests; the exit code."""
    values = settings.load()
    argv = [sys.executable, "-m", "tests.images", values.python_image, values.postgres_image]
    return subprocess.run(argv, check=False, cwd=ROOT).returncode
