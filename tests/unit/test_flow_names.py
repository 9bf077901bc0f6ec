"""The name of each flow and task begins with the name of the one that calls it."""

import importlib
import sys
from pathlib import Path

import pytest

from flows.helpers.files import REPO_ROOT
from tests.unit.naming import modules, offenders

GOOD = """
from prefect import flow, task

@task(name="pipeline.load.fetch")
def fetch(): ...

@flow(name="pipeline.load")
def load():
    helper()

def helper():
    fetch.submit()

@flow(name="pipeline")
def pipeline():
    load()
"""


def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> list[str]:
    """Return the offenders of a package whose only module is `pipeline`."""
    package = "flows_under_test"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    (tmp_path / package / "pipeline.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        return offenders(modules(tmp_path / package, package))
    finally:
        for name in [name for name in sys.modules if name.startswith(package)]:
            del sys.modules[name]
        importlib.invalidate_caches()


def test_every_flow_and_task_of_flows_inherits_its_parents_prefix() -> None:
    assert offenders(modules(REPO_ROOT / "flows", "flows")) == []


def test_the_flows_that_are_shipped_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = modules(REPO_ROOT / "flows", "flows")
    vtasks = next(module for module in shipped if module.__name__ == "flows.vtasks")
    monkeypatch.setattr(vtasks.copy, "name", "backup.copy")
    assert offenders(shipped) == [
        "vtasks.backup calls backup.copy: expected the name vtasks.backup.copy"
    ]


def test_good_names_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check(tmp_path, monkeypatch, GOOD) == []


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            'name="pipeline.load.fetch"',
            'name="fetch"',
            "pipeline.load calls fetch: expected the name pipeline.load.fetch",
        ),
        (
            'name="pipeline.load.fetch"',
            'name="pipeline.fetch"',
            "pipeline.load calls pipeline.fetch: expected the name pipeline.load.fetch",
        ),
        (
            'name="pipeline.load.fetch"',
            "",
            "pipeline.load calls fetch: expected the name pipeline.load.fetch",
        ),
        (
            "    load()",
            "    load.with_options(name='load')()",
            "pipeline calls load: expected the name pipeline.load",
        ),
        (
            '"pipeline"',
            '"pipelines"',
            "pipelines calls pipeline.load: expected the name pipelines.load",
        ),
        (
            "    fetch.submit()",
            "    print(fetch)",
            "pipeline.load.fetch is called by none: expected a flow named pipeline",
        ),
    ],
)
def test_an_offender_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str, message: str
) -> None:
    assert before in GOOD
    assert message in check(tmp_path, monkeypatch, GOOD.replace(before, after))
