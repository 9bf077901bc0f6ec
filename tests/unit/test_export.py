"""The promises of the flow `export` that need no server."""

import datetime as dt
import itertools
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from unittest.mock import Mock

import pytest
from prefect.flows import load_flow_from_entrypoint
from prefect.logging import disable_run_logger
from prefect.utilities.callables import parameter_schema
from pydantic import ValidationError

from flows.export import export, read, select_rows, write
from flows.exporting import dataset
from flows.exporting.dataset import Row
from flows.exporting.deadline import Deadline
from flows.exporting.files import exports_folder, write_whole
from flows.exporting.output import DELIMITERS, OutputOptions
from flows.exporting.selection import Selection
from flows.exporting.summary import Line, summarize
from flows.helpers.files import REPO_ROOT


def a_row(
    table: str = "orders", *, env: str = "pro", version: str = "1.10", day: str = "2026-03-01"
) -> Row:
    return Row(version, env, table, dt.date.fromisoformat(day), "X1", "C1", Decimal("9.90"))


def a_deadline() -> Deadline:
    """Return a deadline of a minute, whose clock moves half a minute each time it is read."""
    return Deadline.after(1, clock=itertools.count(step=30).__next__)


SHOP = tuple(a_row(table) for table in ("customers", "order_items", "orders", "payments"))


def tables_of(rows: tuple[Row, ...]) -> list[str]:
    return [row.table for row in rows]


class TestTables:
    def test_every_table_is_exported_when_none_is_selected(self) -> None:
        assert Selection("pro").of(SHOP) == SHOP

    def test_an_empty_select_is_no_select(self) -> None:
        assert Selection("pro", select=" ", exclude="").of(SHOP) == SHOP

    def test_select_takes_shell_patterns_between_commas(self) -> None:
        selected = Selection("pro", select="order*, customers").of(SHOP)
        assert tables_of(selected) == ["customers", "order_items", "orders"]

    def test_exclude_wins_over_select(self) -> None:
        selected = Selection("pro", select="order*", exclude="*_items").of(SHOP)
        assert tables_of(selected) == ["orders"]

    def test_an_exclude_that_matches_no_table_excludes_nothing(self) -> None:
        assert Selection("pro", exclude="invoices").of(SHOP) == SHOP

    def test_a_selected_pattern_that_matches_no_table_is_refused(self) -> None:
        with pytest.raises(ValueError, match="select") as error:
            Selection("pro", select="ordres,cust*,x?").of(SHOP)
        assert str(error.value) == (
            "select: expected patterns that match some of customers, order_items, orders, "
            "payments; found none for ordres, x?"
        )

    def test_a_table_that_only_another_environment_has_may_be_selected(self) -> None:
        assert Selection("snd", select="orders").of(SHOP) == ()


class TestDates:
    def test_both_ends_are_inclusive(self) -> None:
        rows = tuple(a_row(day=f"2026-03-0{day}") for day in range(1, 6))
        selection = Selection("pro", min_date=dt.date(2026, 3, 2), max_date=dt.date(2026, 3, 4))
        assert selection.of(rows) == rows[1:4]

    def test_one_day_is_a_range(self) -> None:
        day = dt.date(2026, 3, 1)
        assert Selection("pro", min_date=day, max_date=day).of(SHOP) == SHOP

    def test_a_range_that_ends_before_it_begins_is_refused(self) -> None:
        with pytest.raises(ValueError, match="min_date") as error:
            Selection("pro", min_date=dt.date(2026, 5, 1), max_date=dt.date(2026, 4, 1))
        assert str(error.value) == (
            "min_date: expected a day up to max_date=2026-04-01, found 2026-05-01"
        )


class TestVersions:
    ROWS = (a_row(version="1.9"), a_row(version="1.10"))

    def test_latest_is_the_highest_number_not_the_last_in_the_alphabet(self) -> None:
        assert Selection("pro").of(self.ROWS) == self.ROWS[1:]

    def test_an_older_version_can_be_asked_for(self) -> None:
        assert Selection("pro", version="1.9").of(self.ROWS) == self.ROWS[:1]

    def test_an_unknown_version_is_refused(self) -> None:
        with pytest.raises(ValueError, match="version") as error:
            Selection("pro", version="2.0").of(self.ROWS)
        assert str(error.value) == "version: expected one of latest, 1.9, 1.10, found '2.0'"


def test_only_rows_of_the_environment_are_exported() -> None:
    rows = (a_row(env="pre"), a_row(env="snd"), a_row(env="pro"))
    assert Selection("snd").of(rows) == rows[1:2]


class TestMaxRows:
    def test_of_more_rows_the_first_are_kept_and_the_log_says_so(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        logger = Mock()
        monkeypatch.setattr("flows.export.get_run_logger", lambda: logger)
        deadline = Deadline.after(1)
        assert select_rows.fn(SHOP, Selection("pro"), deadline, 3) == SHOP[:3]
        logger.warning.assert_called_once()
        assert select_rows.fn(SHOP, Selection("pro"), deadline, 4) == SHOP
        logger.warning.assert_called_once()


class TestDeadline:
    @pytest.mark.parametrize("timeout_mins", [0, -5])
    def test_a_timeout_below_a_minute_is_refused(self, timeout_mins: int) -> None:
        with pytest.raises(ValueError, match="timeout_mins") as error:
            Deadline.after(timeout_mins)
        assert str(error.value) == f"timeout_mins: expected 1 or more, found {timeout_mins}"

    def test_rows_pass_until_the_time_is_up(self) -> None:
        rows = a_deadline().watch("abc")
        assert next(rows) == "a"
        with pytest.raises(TimeoutError, match="given up after timeout_mins=1"):
            next(rows)

    def test_a_last_row_that_takes_too_long_counts(self) -> None:
        with pytest.raises(TimeoutError):
            list(a_deadline().watch("a"))

    @pytest.mark.parametrize(
        "step",
        [
            lambda deadline, _: read.fn(dataset.SAMPLE, deadline),
            lambda deadline, _: select_rows.fn(SHOP, Selection("pro"), deadline),
            lambda deadline, folder: write.fn(SHOP, folder / "export.csv", deadline),
        ],
        ids=["read", "select", "write"],
    )
    def test_every_step_gives_up_in_time(
        self, step: Callable[[Deadline, Path], object], tmp_path: Path
    ) -> None:
        deadline = a_deadline()
        deadline.check()
        with disable_run_logger(), pytest.raises(TimeoutError):
            step(deadline, tmp_path)


class TestFile:
    def test_it_holds_a_header_and_the_rows(self, tmp_path: Path) -> None:
        path = tmp_path / "made" / "export.csv"
        write_whole(path, SHOP[:1])
        assert path.read_text() == (
            "version,env,table,date,id,customer_id,amount\n"
            "1.10,pro,customers,2026-03-01,X1,C1,9.90\n"
        )

    def test_delimiter_and_header_are_chosen(self, tmp_path: Path) -> None:
        path = tmp_path / "export.csv"
        write_whole(path, SHOP[:1], OutputOptions(delimiter="tab", header=False))
        assert path.read_text() == "1.10\tpro\tcustomers\t2026-03-01\tX1\tC1\t9.90\n"

    def test_it_reads_back_as_the_rows_written(self, tmp_path: Path) -> None:
        rows = tuple(dataset.read(dataset.SAMPLE))
        write_whole(tmp_path / "export.csv", rows)
        assert tuple(dataset.read(tmp_path / "export.csv")) == rows

    def test_an_export_that_runs_out_of_time_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(TimeoutError):
            write_whole(tmp_path / "export.csv", a_deadline().watch(SHOP))
        assert list(tmp_path.iterdir()) == []

    def test_a_retry_that_fails_leaves_the_file_there_was(self, tmp_path: Path) -> None:
        path = tmp_path / "export.csv"
        write_whole(path, SHOP)
        before = path.read_bytes()
        with pytest.raises(TimeoutError):
            write_whole(path, a_deadline().watch(SHOP))
        assert path.read_bytes() == before

    def test_nobody_sees_it_half_written(self, tmp_path: Path) -> None:
        path = tmp_path / "export.csv"

        def rows_that_look() -> Iterator[Row]:
            for row in SHOP:
                assert not path.exists()
                yield row

        write_whole(path, rows_that_look())
        assert [entry.name for entry in tmp_path.iterdir()] == ["export.csv"]

    def test_it_lands_in_the_data_folder_of_the_stack(self, tmp_path: Path) -> None:
        assert exports_folder({"STACK_DATA_DIR": str(tmp_path)}) == tmp_path / "exports"

    @pytest.mark.parametrize("environ", [{}, {"STACK_DATA_DIR": ""}])
    def test_it_lands_below_the_repo_without_one(self, environ: dict[str, str]) -> None:
        assert exports_folder(environ) == REPO_ROOT / ".stack" / "data" / "exports"


def test_the_summary_has_a_line_per_table() -> None:
    rows = (a_row(), a_row("customers"), a_row(day="2026-02-01"))
    assert summarize(rows) == [
        Line("customers", "pro", "1.10", 1, "2026-03-01", "2026-03-01", "9.90"),
        Line("orders", "pro", "1.10", 2, "2026-02-01", "2026-03-01", "19.80"),
    ]


class TestSample:
    ROWS = tuple(dataset.read(dataset.SAMPLE))

    def test_every_version_and_environment_has_rows_of_every_table(self) -> None:
        assert {(row.version, row.env, row.table) for row in self.ROWS} == set(
            itertools.product(("1.9", "1.10"), ("pre", "snd", "pro"), tables_of(SHOP))
        )

    def test_it_is_about_2026(self) -> None:
        assert {row.date.year for row in self.ROWS} == {2026}


class TestForm:
    """The schema from which the UI makes the form of a run."""

    SCHEMA = parameter_schema(export)

    def test_the_environment_is_a_choice_of_three_and_all_that_is_required(self) -> None:
        assert self.SCHEMA.properties["env"]["enum"] == ["pre", "snd", "pro"]
        assert self.SCHEMA.required == ["env"]

    @pytest.mark.parametrize("name", ["min_date", "max_date"])
    def test_dates_are_picked_from_a_calendar(self, name: str) -> None:
        assert {"type": "string", "format": "date"} in self.SCHEMA.properties[name]["anyOf"]

    def test_every_parameter_is_described(self) -> None:
        fields = self.SCHEMA.properties.items()
        assert [name for name, field in fields if not field.get("description")] == []

    def test_defaults_export_everything_of_the_latest_version(self) -> None:
        defaults = {name: field.get("default") for name, field in self.SCHEMA.properties.items()}
        output = defaults.pop("output")
        assert defaults == dict.fromkeys(defaults) | {"timeout_mins": 150, "version": "latest"}
        assert output == {"delimiter": "comma", "header": True, "max_rows": 100_000}

    def test_the_section_of_the_output_describes_and_limits_its_fields(self) -> None:
        fields = self.SCHEMA.definitions["OutputOptions"]["properties"]
        assert [name for name, field in fields.items() if not field.get("description")] == []
        assert fields["delimiter"]["enum"] == list(DELIMITERS)
        assert (fields["max_rows"]["minimum"], fields["max_rows"]["maximum"]) == (1, 1_000_000)

    @pytest.mark.parametrize(
        "output",
        [{"max_rows": 0}, {"max_rows": 1_000_001}, {"delimiter": "dot"}, {"heading": True}],
        ids=str,
    )
    def test_an_output_outside_of_its_limits_is_refused(self, output: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            OutputOptions.model_validate(output)


def test_prefect_loads_it_by_its_entrypoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPO_ROOT)
    # Loading a flow puts its folder in front of the path: other tests must not import from there.
    monkeypatch.setattr(sys, "path", sys.path.copy())
    assert load_flow_from_entrypoint("flows/export.py:export").name == "export"
