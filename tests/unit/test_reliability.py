"""The page on reliability says what was measured, and the suite of faults counts correctly."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts.testing import RELIABILITY
from tests import faults
from tests.faults import account, ledger, report, results
from tests.faults.ledger import Ledger
from tests.faults.promises import PROMISES
from tests.faults.results import Results, Row

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.faults.account import Account

FOLDER = Path(faults.__file__).parent


def known_tests() -> Iterator[tuple[str, pytest.Mark]]:
    """Yield the name of each test of the suite with its mark `fault`."""
    for path in sorted(FOLDER.glob("test_*.py")):
        module = importlib.import_module(f"tests.faults.{path.stem}")
        for name, member in vars(module).items():
            marks = getattr(member, "pytestmark", []) if name.startswith("test_") else []
            for mark in marks:
                if mark.name == "fault":
                    yield f"tests/faults/{path.name}::{name}", mark


def row(**changes: Any) -> Row:
    """Return a line of the page, with `changes`."""
    values: dict[str, Any] = {
        "test": "tests/faults/test_a.py::test_b",
        "fault": "the server is killed",
        "promises": [3, 1],
        "bound": "60 s",
        "outcome": "held",
        "measured": {"accepted": 40, "Completed": 40},
    }
    return Row(**{**values, **changes})


def test_every_test_of_the_suite_names_its_fault_and_every_promise_has_one() -> None:
    known = dict(known_tests())
    for path in FOLDER.glob("test_*.py"):
        defined = path.read_text().count("\ndef test_")
        assert sum(name.startswith(f"tests/faults/{path.name}") for name in known) == defined
    assert {each for mark in known.values() for each in mark.kwargs["promises"]} == set(PROMISES)


def test_the_page_is_what_the_figures_say() -> None:
    assert RELIABILITY.with_suffix(".md").read_text() == report.render(results.read(RELIABILITY))


def test_the_figures_are_of_tests_that_are_there_with_the_bounds_that_they_have() -> None:
    known = dict(known_tests())
    for measured in results.read(RELIABILITY).rows:
        mark = known[measured.test.partition("[")[0]]
        assert (measured.fault, measured.bound) == (mark.args[0], mark.kwargs["bound"])
        assert measured.promises == mark.kwargs["promises"]


def test_a_promise_that_did_not_hold_is_on_the_page_with_what_was_found() -> None:
    page = report.render(Results(rows=[row(outcome="did not hold", why="{'stuck': 8} `x`")]))
    assert "| 3, 1 | the server is killed | 60 s | **NO** | accepted 40; Completed 40 |" in page
    assert "- the server is killed: `{'stuck': 8} 'x'`" in page


def test_what_was_not_tried_is_not_among_what_was_measured() -> None:
    page = report.render(Results(rows=[row(outcome="not tried", why="no faketime")]))
    assert "| 3, 1 |" not in page
    assert "## Not tried\n\n- the server is killed: `no faketime`" in page


def test_a_test_that_ran_again_replaces_its_line(tmp_path: Path) -> None:
    path = tmp_path / "reliability.json"
    results.add(path, row(outcome="did not hold"))
    results.add(path, row(test="tests/faults/test_a.py::test_c"))
    results.add(path, row())
    rows = results.read(path).rows
    assert [(each.test[-6:], each.outcome) for each in rows] == [
        ("test_b", "held"),
        ("test_c", "held"),
    ]
    assert report.write(path).read_text() == report.render(results.read(path))


def test_a_line_of_the_ledger_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_text("start a 1\nend a 1\nstart b 2\nstart b 3\nen")
    written = ledger.read(path)
    assert (written.starts, written.ends) == ({"a": 1, "b": 2}, {"a": 1})


def account_of(state: str, starts: int, ends: int, ended: Collection[int] = ()) -> Account:
    """Return the account of one run in `state` that wrote so many starts and ends to the ledger."""
    written = Ledger()
    written.starts["key"], written.ends["key"], written.pids["key"] = starts, ends, 7
    run = {"state_type": state, "state": {"name": state.title(), "message": "said"}}
    return account.make(
        {"key": "id"},
        [],
        {"id": run},
        written,
        ended=ended,
        taken={},
        recovery_seconds=1.0,
        places_seconds=1.0,
    )


@pytest.mark.parametrize(
    ("state", "starts", "ends", "lost"),
    [
        ("COMPLETED", 1, 1, {}),
        ("COMPLETED", 2, 1, {"executed_twice": 1}),
        ("COMPLETED", 2, 2, {"executed_twice": 1}),
        ("COMPLETED", 0, 0, {"completed_without_end": 1}),
        ("FAILED", 1, 1, {"failed_though_done": 1}),
        ("CRASHED", 1, 1, {"failed_though_done": 1}),
        ("FAILED", 1, 0, {"failed": 1}),
        ("CRASHED", 1, 0, {"crashed_at_work": 1}),
        ("CRASHED", 0, 0, {"crashed_unbegun": 1}),
        ("CANCELLED", 0, 0, {"cancelled": 1}),
        ("PENDING", 0, 0, {"stuck": 1}),
        ("RUNNING", 1, 1, {"stuck": 1}),
    ],
)
def test_each_end_that_no_fault_excuses_is_counted(
    state: str, starts: int, ends: int, lost: dict[str, int]
) -> None:
    assert account_of(state, starts, ends).lost() == lost


@pytest.mark.parametrize(
    ("state", "lost"), [("CRASHED", {}), ("FAILED", {"failed": 1}), ("RUNNING", {"stuck": 1})]
)
def test_what_the_fault_itself_has_ended_may_be_crashed_and_nothing_else(
    state: str, lost: dict[str, int]
) -> None:
    assert account_of(state, 1, 0, ended={7}).lost() == lost


@pytest.mark.parametrize(
    ("start_time", "lost"), [("2030-01-02T03:04:05Z", {}), (None, {"crashed_unbegun": 1})]
)
def test_what_was_killed_between_running_and_its_first_line_may_be_crashed(
    start_time: str | None, lost: dict[str, int]
) -> None:
    state = {"name": "Crashed", "message": "said"}
    run = {"state_type": "CRASHED", "state": state, "infrastructure_pid": "7"}
    counts = account.make(
        {"key": "id"},
        [],
        {"id": {**run, "start_time": start_time}},
        Ledger(),
        ended={7},
        taken={},
        recovery_seconds=1.0,
        places_seconds=1.0,
    )
    assert counts.lost() == lost


def test_a_run_that_the_server_does_not_know_is_stuck() -> None:
    counts = account.make(
        {"key": "id"},
        [],
        {},
        Ledger(),
        ended=(),
        taken={},
        recovery_seconds=None,
        places_seconds=None,
    )
    assert counts.stuck == 1
    assert counts.lost() == {"stuck": 1}
