"""An error tells a person what failed, what was expected and found, and what to type next."""

import pytest

from server.bootstrap.world import DeclarationError
from server.errors import (
    REPORT,
    REPORT_VARIABLE,
    MistakeError,
    StackError,
    exit_with,
    report_line,
    reported,
    without_reports,
)


def failing(error: Exception) -> None:
    raise error


class TestMessage:
    def test_it_has_a_line_for_each_part(self) -> None:
        error = StackError("it failed", expected="this", found="that", do="retry")
        assert str(error) == ("it failed\n  expected: this\n  found:    that\n  do:       retry")

    def test_a_part_that_is_not_given_takes_no_line(self) -> None:
        assert str(StackError("it failed", found="that")) == "it failed\n  found:    that"

    def test_what_failed_may_stand_alone(self) -> None:
        assert str(StackError("it failed")) == "it failed"

    def test_details_stand_apart_line_by_line(self) -> None:
        assert str(StackError("it failed", do="retry", details="one\n\ntwo\n")) == (
            "it failed\n  do:       retry\n\n  | one\n  | \n  | two"
        )


class TestExit:
    @pytest.mark.parametrize(("kind", "code"), [(MistakeError, 2), (StackError, 1)])
    def test_a_mistake_ends_with_2_and_a_fault_with_1(
        self, kind: type[StackError], code: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as exit_:
            exit_with(lambda: failing(kind("it failed", do="retry")))
        assert exit_.value.code == code
        assert capsys.readouterr() == ("", "error: it failed\n  do:       retry\n")

    def test_a_defect_keeps_its_traceback(self) -> None:
        with pytest.raises(ZeroDivisionError):
            exit_with(lambda: failing(ZeroDivisionError()))

    def test_without_a_fault_nothing_is_said(self, capsys: pytest.CaptureFixture[str]) -> None:
        exit_with(lambda: None)
        assert capsys.readouterr() == ("", "")


class TestReport:
    """A process reports its error to the parent that reads its log."""

    @pytest.mark.parametrize("kind", [MistakeError, StackError])
    def test_the_parent_raises_the_same_error(self, kind: type[StackError]) -> None:
        error = kind("it failed", expected="this", found="a\nb", do="retry", details="error: c")
        raised = reported(f"before\nerror: {error}\n{report_line(error)}\n")
        assert type(raised) is kind
        assert (str(raised), raised.do, raised.details) == (str(error), "retry", "error: c")

    def test_all_wrong_declarations_reach_the_parent(self) -> None:
        error = DeclarationError([MistakeError("one", do="a"), MistakeError("two", found="b")])
        assert str(reported(report_line(error))) == str(error)
        assert str(error).startswith(
            "2 declarations are wrong\n\n  one\n    do:       a\n\n  two\n"
        )

    def test_the_last_error_counts(self) -> None:
        lines = [report_line(StackError(text)) for text in ("first", "second")]
        assert str(reported("\n".join(lines))) == "second"

    @pytest.mark.parametrize("output", ["", "error: words only", f"{REPORT}{{", f"{REPORT}{{}}"])
    def test_output_without_a_whole_report_has_none(self, output: str) -> None:
        assert reported(output) is None

    def test_a_person_does_not_read_it(self) -> None:
        error = StackError("it failed")
        assert without_reports(f"error: it failed\n{report_line(error)}\nafter\n") == (
            "error: it failed\nafter\n"
        )

    def test_a_process_reports_only_where_a_parent_asks_for_it(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(REPORT_VARIABLE, "1")
        with pytest.raises(SystemExit):
            exit_with(lambda: failing(MistakeError("it failed")))
        first, second = capsys.readouterr().err.splitlines()
        assert (first, second) == ("error: it failed", report_line(MistakeError("it failed")))
