"""A schedule that can never make a run is a mistake; one whose dates are over gets a note."""

from pathlib import Path

import pytest

from server.bootstrap import dates
from tests.unit.test_declarations import CRON, VALID
from tests.unit.writing import MARK, mistake, tolerate, with_line


@pytest.fixture(autouse=True)
def _flows(tmp_path: Path) -> None:
    """Write the flow that the declarations name."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/hello.py").write_text(
        "from prefect import flow\n\n@flow\ndef hello(): pass\n"
    )


class TestDates:
    @pytest.mark.parametrize(
        ("rule", "why"),
        [
            ("FREQ=DAILY;UNTIL=20301231T000000Z", "RRULE UNTIL values must be specified in UTC"),
            ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "a rule that has no date at all"),
        ],
        ids=["an end in another zone", "the 30th of February"],
    )
    def test_a_rule_without_dates_is_refused(self, rule: str, why: str, tmp_path: Path) -> None:
        message = mistake(tmp_path, with_line(VALID, CRON, f'        rrule: "{rule}"{MARK}'))
        assert message.startswith("schedule 'nightly' of 'first' never creates a run\n")
        assert f"  found:    {why}" in message

    def test_a_day_that_there_is_not_is_refused(self, tmp_path: Path) -> None:
        text = with_line(VALID, CRON, f'        cron: "0 0 31 2 *"{MARK}')
        assert "never creates a run" in mistake(tmp_path, text)

    def test_one_whose_dates_do_not_end_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dates, "TIMEOUT_SECONDS", 1)
        text = with_line(VALID, CRON, f'        rrule: "FREQ=DAILY;INTERVAL=0"{MARK}')
        assert "cannot be computed: it takes longer than 1 seconds" in mistake(tmp_path, text)

    @pytest.mark.parametrize("end", ["UNTIL=20200201T000000", "COUNT=3"])
    def test_one_that_is_over_is_taken_and_said(self, end: str, tmp_path: Path) -> None:
        text = with_line(VALID, CRON, f'        rrule: "FREQ=DAILY;{end}"')
        world, right = tolerate(tmp_path, text)
        assert len(right["deployment"].items) == 2
        assert world.problems == []
        [note] = world.notes
        assert note.startswith(
            "prefect.yaml line 7: schedule 'nightly' of 'first' creates no more runs: its dates "
            "are over: the first was 2020-01-01T00:00:00"
        )
