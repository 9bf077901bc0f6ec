"""A person is told what failed, what was expected and found, and what to type next."""

import pytest

from server.errors import MistakeError, StackError, exit_with


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
