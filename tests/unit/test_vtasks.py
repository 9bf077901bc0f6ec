"""The promises of the flow `vtasks` that need no server."""

import base64
import datetime as dt
import os
import re
import socket
import tarfile
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from prefect.utilities.callables import parameter_schema

from flows.backups import archive, retention
from flows.expenses import ledger, report
from flows.expenses.ledger import Expense
from flows.vtasks import backup, expensor, vtasks

NOON = dt.datetime(2026, 3, 31, 12, tzinfo=dt.UTC)
HEADER = "date,category,description,amount\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with files, folders, links and a dead link."""
    folder = tmp_path / "notes"
    (folder / "empty").mkdir(parents=True)
    (folder / "deep/er").mkdir(parents=True)
    (folder / "a.txt").write_text("first")
    (folder / "deep/er/ü b.bin").write_bytes(os.urandom(archive.CHUNK + 1))  # read in two steps
    (folder / "twin.txt").hardlink_to(folder / "a.txt")
    (folder / "link").symlink_to("a.txt")
    (folder / "gone").symlink_to("nowhere")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


class TestArchive:
    def test_it_holds_what_is_in_the_folder(self, source: Path, tmp_path: Path) -> None:
        whole = archive.make(source, tmp_path / "backups", NOON)
        with tarfile.open(whole.path) as tar:
            # Debian 12's Python 3.11.2 has no filters yet, 3.12 warns where none is given.
            safe: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(tmp_path / "back", **safe)  # noqa: S202 - our own
        back = tmp_path / "back"
        assert contents(back) == contents(source)
        assert whole.files == 3
        assert (back / "empty").is_dir()
        assert (back / "gone").readlink() == Path("nowhere")

    def test_its_name_has_the_date_in_utc(self, source: Path, tmp_path: Path) -> None:
        madrid = NOON.astimezone(dt.timezone(dt.timedelta(hours=2)))
        whole = archive.make(source, tmp_path / "backups", madrid)
        assert re.fullmatch(r"notes-20260331T120000Z-[0-9a-f]{8}\.tar\.gz", whole.path.name)

    def test_one_that_does_not_read_back_does_not_appear(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = archive._write  # noqa: SLF001

        def on_a_bad_disk(source: Path, part: Path) -> tuple[dict[str, str], int]:
            sums, size = write(source, part)
            return {**sums, "a.txt": "another sum"}, size

        monkeypatch.setattr(archive, "_write", on_a_bad_disk)
        with pytest.raises(OSError, match=r"does not read back as it was written: a\.txt"):
            archive.make(source, tmp_path / "backups", NOON)
        assert list((tmp_path / "backups").iterdir()) == []

    def test_a_file_that_cannot_be_read_leaves_nothing(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archive.Hashed, "read", lambda *_: b"")  # as when it is cut meanwhile
        with pytest.raises(OSError, match="unexpected end of data"):
            archive.make(source, tmp_path / "backups", NOON)
        assert list((tmp_path / "backups").iterdir()) == []

    def test_a_socket_is_left_out(self, source: Path, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(source / "socket"))
            whole = archive.make(source, tmp_path / "backups", NOON)
        with tarfile.open(whole.path) as tar:
            assert "socket" not in tar.getnames()

    @pytest.mark.parametrize(
        ("name", "folder", "message"),
        [
            ("nowhere", "backups", "source: expected a folder, found nothing at"),
            ("notes/a.txt", "backups", "source: expected a folder, found a file at"),
            ("notes/empty", "backups", "source: expected a folder with files, found none in"),
            ("notes", "notes/backups", "backups: expected a folder outside of"),
            ("notes", "notes", "backups: expected a folder outside of"),
        ],
    )
    @pytest.mark.usefixtures("source")
    def test_what_cannot_be_backed_up_is_refused(
        self, tmp_path: Path, name: str, folder: str, message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            archive.make(tmp_path / name, tmp_path / folder, NOON)
        assert list(tmp_path.rglob("*.tar.gz")) == []


class TestKeeping:
    def make(self, source: Path, folder: Path, count: int) -> list[Path]:
        """Make `count` archives; return them with the newest first."""
        days = [NOON + dt.timedelta(days=day) for day in range(count)]
        return [archive.make(source, folder, day).path for day in reversed(days)]

    def test_the_newest_stay(self, source: Path, tmp_path: Path) -> None:
        archives = self.make(source, tmp_path / "backups", 4)
        assert retention.clean(tmp_path / "backups", source, 2) == archives[2:]
        assert sorted((tmp_path / "backups").iterdir(), reverse=True) == archives[:2]

    def test_nothing_else_is_ever_removed(self, source: Path, tmp_path: Path) -> None:
        folder = tmp_path / "backups"
        ours = self.make(source, folder, 2)
        (tmp_path / "other/notes").mkdir(parents=True)
        (tmp_path / "other/notes/a.txt").write_text("of a folder of the same name")
        others = [
            *self.make(tmp_path / "other/notes", folder, 2),
            folder / "notes-20260101T000000Z-00000000.tar.gz",  # only looks like one
            folder / "notes-20260102T000000Z-00000000.tar.gz",
            folder / "notes-20260103T000000Z-00000000.tar.gz",
            folder / "notes.txt",
        ]
        others[2].write_text("not an archive")
        with tarfile.open(others[3], "w:gz") as tar:
            tar.add(source / "a.txt")
        others[4].symlink_to(ours[0])
        others[5].write_text("a note")
        assert retention.clean(folder, source, 1) == ours[1:]
        assert set(folder.iterdir()) == {ours[0], *others}

    def test_keeping_none_is_refused(self, source: Path, tmp_path: Path) -> None:
        archives = self.make(source, tmp_path / "backups", 1)
        with pytest.raises(ValueError, match="keep: expected 1 or more, found 0"):
            retention.clean(tmp_path / "backups", source, 0)
        assert archives[0].exists()

    def test_a_copy_is_the_same(self, source: Path, tmp_path: Path) -> None:
        (original,) = self.make(source, tmp_path / "backups", 1)
        assert retention.copy(original, tmp_path / "mirror").read_bytes() == original.read_bytes()

    def test_a_copy_that_differs_does_not_appear(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (original,) = self.make(source, tmp_path / "backups", 1)
        monkeypatch.setattr(
            "flows.backups.retention.shutil.copyfile",
            lambda _, to: Path(to).write_bytes(b"half of it"),
        )
        with pytest.raises(OSError, match="differs from it"):
            retention.copy(original, tmp_path / "mirror")
        assert list((tmp_path / "mirror").iterdir()) == []


class TestLedger:
    def write(self, tmp_path: Path, text: str) -> Path:
        path = tmp_path / "expenses.csv"
        path.write_text(text, encoding="utf-8-sig")
        return path

    def test_it_reads_lines_in_any_order_of_columns(self, tmp_path: Path) -> None:
        path = self.write(
            tmp_path, "amount,note,category,date,description\n-2.5,x,Food,2026-03-31,\n"
        )
        assert ledger.read(path) == (Expense(dt.date(2026, 3, 31), "Food", "", Decimal("-2.5")),)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (f"{HEADER}31.3.2026,Food,Tea,1\n", "line 2: date: expected a day such as"),
            (
                f"{HEADER}2026-03-31,Food,Tea,1\n2026-03-31,Food,Tea,1O\n",
                "line 3: amount: expected",
            ),
            (f"{HEADER}2026-03-31,Food,Tea,NaN\n", "line 2: amount: expected a number such as"),
            (f"{HEADER}2026-03-31,,Tea,1\n", "line 2: category: expected a name, found none"),
            (f"{HEADER}2026-03-31,Food\n", "line 2: amount: expected a number"),
            ("date,category,amount\n", "found none for description"),
            ("", "found none for date, category, description, amount"),
        ],
    )
    def test_a_line_that_is_wrong_is_named(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ledger.read(self.write(tmp_path, text))

    def test_a_file_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="expenses: expected a CSV file, found none at"):
            ledger.read(tmp_path / "expenses.csv")

    def test_the_last_month_is_reported_when_none_is_asked_for(self) -> None:
        expenses = ledger.month_of(ledger.read(ledger.SAMPLE), None)
        assert {each.date.replace(day=1) for each in expenses} == {dt.date(2026, 9, 1)}

    def test_any_day_of_the_month_will_do(self) -> None:
        expenses = ledger.month_of(ledger.read(ledger.SAMPLE), dt.date(2026, 8, 31))
        assert {each.date.replace(day=1) for each in expenses} == {dt.date(2026, 8, 1)}

    def test_a_month_without_expenses_is_refused(self) -> None:
        with pytest.raises(ValueError, match="month") as error:
            ledger.month_of(ledger.read(ledger.SAMPLE), dt.date(2026, 1, 1))
        assert str(error.value) == (
            "month: expected one of 2026-07, 2026-08, 2026-09; found 2026-01"
        )

    def test_a_file_without_expenses_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="found an empty one"):
            ledger.month_of(ledger.read(self.write(tmp_path, HEADER)), None)


class TestReport:
    EXPENSES = (
        Expense(dt.date(2026, 3, 1), "Food & <drink>", "Tea|cake", Decimal("7.50")),
        Expense(dt.date(2026, 3, 2), "Home", "Rent", Decimal("20.00")),
        Expense(dt.date(2026, 3, 3), "Food & <drink>", "Soup", Decimal("2.50")),
        Expense(dt.date(2026, 3, 4), "Clothes", "Returned", Decimal("-5.00")),
    )

    def test_the_table_has_each_category_the_most_first(self) -> None:
        text = report.markdown(self.EXPENSES)
        assert text.startswith("# Expenses of 2026-03\n\n4 expenses, **25.00 EUR**.")
        assert text.endswith(
            "| Home | 20.00 | 80% |\n"
            "| Food & \\<drink\\> | 10.00 | 40% |\n"
            "| Clothes | -5.00 | -20% |\n"
        )

    def test_the_chart_has_a_bar_for_each_as_long_as_what_was_spent(self) -> None:
        image = re.search(r"data:image/svg\+xml;base64,([^)]+)\)", report.markdown(self.EXPENSES))
        assert image
        chart = ET.fromstring(base64.b64decode(image[1]))  # noqa: S314 - made above
        bars = [float(each.get("width", "")) for each in chart if each.tag.endswith("rect")]
        assert bars[1] == pytest.approx(bars[0] / 2)
        assert bars[2] == 0
        assert "Food & <drink>" in [each.text for each in chart]

    def test_a_month_in_credit_has_a_report(self) -> None:
        assert "**-5.00 EUR**" in report.markdown(self.EXPENSES[3:])


class TestForm:
    @pytest.mark.parametrize("flow", [vtasks, backup, expensor], ids=lambda flow: flow.name)
    def test_every_parameter_is_described_and_none_has_to_be_given(self, flow: object) -> None:
        schema = parameter_schema(flow)  # type: ignore[arg-type]
        fields = schema.properties.items()
        assert [name for name, field in fields if not field.get("description")] == []
        assert schema.required == []

    def test_keep_has_its_limit_in_the_form(self) -> None:
        assert parameter_schema(vtasks).properties["keep"]["minimum"] == 1

    def test_the_parts_have_the_same_defaults_and_words(self) -> None:
        whole = parameter_schema(vtasks).properties
        for part in (backup, expensor):
            for name, field in parameter_schema(part).properties.items():
                assert {**field, "position": 0} == {**whole[name], "position": 0}
