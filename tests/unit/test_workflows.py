"""The workflows run every suite, with the least rights and a limit of time."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from ruamel.yaml import YAML

from scripts.testing import Suite
from server.settings import ROOT

WORKFLOWS = {
    path.stem: YAML(typ="safe").load(path)
    for path in sorted((ROOT / ".github/workflows").glob("*.yml"))
}
JOBS = {
    f"{workflow}: {name}": job
    for workflow, content in WORKFLOWS.items()
    for name, job in content["jobs"].items()
}
each_job = pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
each_workflow = pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=WORKFLOWS)


def commands(jobs: dict[str, Any]) -> str:
    """Return all commands that the steps of these jobs run."""
    steps = [step for job in jobs.values() for step in job.get("steps", [])]
    return "\n".join(step.get("run", "") for step in steps)


@each_workflow
def test_a_workflow_grants_nothing_by_itself_and_runs_once_at_a_time(
    workflow: dict[str, Any],
) -> None:
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["group"]


@each_job
def test_a_job_names_its_rights_and_has_an_end(job: dict[str, Any]) -> None:
    assert job["permissions"]
    assert "timeout-minutes" in job or "uses" in job  # a called workflow has limits of its own


@each_job
def test_no_step_leaves_the_token_in_the_clone(job: dict[str, Any]) -> None:
    for step in job.get("steps", []):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_only_the_release_may_write() -> None:
    writing = {
        name: [right for right, level in job["permissions"].items() if level == "write"]
        for name, job in JOBS.items()
    }
    assert {name: rights for name, rights in writing.items() if rights} == {
        "release: images": ["packages"],
        "release: release": ["contents"],
    }


def test_the_release_has_both_images_and_the_wheel() -> None:
    jobs = WORKFLOWS["release"]["jobs"]
    assert jobs["release"]["needs"] == ["images", "wheel"]
    published = commands({"release": jobs["release"]})
    assert "dist/*" in published
    assert "wheel --no-deps" in commands({"wheel": jobs["wheel"]})


def test_every_suite_is_run_by_a_workflow() -> None:
    named = re.findall(r"scripts/stack test (\w+)", commands(JOBS))
    assert sorted(named) == sorted(each for each in Suite if each not in {"all", "images"})


def test_the_version_has_its_section_in_the_changelog() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE)
