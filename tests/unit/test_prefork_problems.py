"""A run that ends before its flow begins tells the worker why, once and in one sentence."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prefect_prefork.common.messages import Brought, Loaded, Problem
from tests.unit.forking import Forks, forks

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGGER = logging.getLogger(__name__)
FLOW = """
from prefect import flow

@flow(on_crashed=[lambda *_: None])
def says():
    pass
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with forks(tmp_path_factory.mktemp("home"), LOGGER) as from_template:
        yield from_template


def problem(said: list[Any]) -> str:
    [told] = [each for each in said if isinstance(each, Problem)]
    assert told.traceback
    return told.message


@pytest.mark.parametrize(
    ("source", "entrypoint", "expected"),
    [
        ("def f(:\n", "a.py:f", "SyntaxError in flows/a.py, line 1: invalid syntax"),
        ("\nimport no_such_package\n", "a.py:f", "ModuleNotFoundError in flows/a.py, line 2: "),
        ("import sys\nsys.exit(3)\n", "a.py:f", "SystemExit in flows/a.py, line 2: 3"),
        ("raise ValueError('a\\0b \\udc80')\n", "a.py:f", r"line 1: a\x00b \udc80"),
        (FLOW, "a.py:missing", "Function with name 'missing' not found in "),
        (FLOW, "b.py:says", "FileNotFoundError: "),
    ],
)
def test_a_flow_that_cannot_be_loaded_is_told_of_in_one_sentence(
    shared: Forks, tmp_path: Path, source: str, entrypoint: str, expected: str
) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/a.py").write_text(source)
    ended = shared.run(tmp_path, f"flows/{entrypoint}")
    assert ended.code == 1
    message = problem(ended.said)
    assert expected in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"PREFECT_LOGGING_LEVEL": "NONSENSE"}, "Prefect's settings cannot be read: "),
        ({"PREFECT_LOGGING_CONFIG_PATH": "{root}/broken.yml"}, "The logs cannot be set up: "),
    ],
)
def test_settings_that_cannot_be_read_are_told_of(
    shared: Forks, tmp_path: Path, env: dict[str, str], expected: str
) -> None:
    (tmp_path / "broken.yml").write_text("a: [\n")
    (tmp_path / "a.py").write_text(FLOW)
    given = {name: value.format(root=tmp_path) for name, value in env.items()}
    ended = shared.run(tmp_path, "a.py:says", env=given)
    assert ended.code == 1
    assert problem(ended.said).startswith(expected)


def test_settings_that_cannot_be_read_leave_other_runs_their_forks(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(FLOW)
    with forks(tmp_path / "home", LOGGER) as own:  # the template's first run is a bad one
        bad = own.run(tmp_path, "a.py:says", env={"PREFECT_LOGGING_LEVEL": "NONSENSE"})
        assert problem(bad.said).startswith("Prefect's settings cannot be read: ")
        good = own.run(tmp_path, "a.py:says")
        assert Loaded(hooks=["crashed"]) in good.said


def test_a_working_directory_that_is_gone_is_told_of(shared: Forks, tmp_path: Path) -> None:
    ended = shared.run(tmp_path / "gone", "a.py:says")
    message = problem(ended.said)
    assert message.startswith("The working directory of the run cannot be entered: ")
    assert str(tmp_path / "gone") in message


def test_a_logging_file_that_changes_is_read_by_the_next_run(shared: Forks, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(FLOW)
    logs = Path(shared.env["PREFECT_HOME"]) / "logging.yml"
    assert Loaded(hooks=["crashed"]) in shared.run(tmp_path, "a.py:says").said
    logs.write_text("a: [\n")
    try:
        ended = shared.run(tmp_path, "a.py:says")
    finally:
        logs.unlink()
    assert problem(ended.said).startswith("The logs cannot be set up: ")
    assert Loaded(hooks=["crashed"]) in shared.run(tmp_path, "a.py:says").said


def test_hooks_find_the_code_where_the_run_had_it_and_no_pull_step_runs_again(
    shared: Forks, tmp_path: Path
) -> None:
    (tmp_path / "pulled").mkdir()
    (tmp_path / "pulled/helper.py").write_text("")
    (tmp_path / "pulled/a.py").write_text(f"import helper\n{FLOW}")
    brought = Brought(
        directory=str(tmp_path / "pulled"),
        entrypoint="a.py:says",
        path=[str(tmp_path / "pulled")],
        python_path="",
    )
    ended = shared.run(
        tmp_path,
        "elsewhere.py:says",
        hooks="crashed",
        state={"type": "CRASHED", "name": "Crashed"},
        brought=brought.model_dump(),
    )
    assert ended.said == [Loaded(hooks=["crashed"])]
    assert ended.code == 0
