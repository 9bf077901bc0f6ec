"""The page about the benchmarks says what the file of raw figures holds."""

import os
import re
import statistics
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks import bench, chart, columns, command, profile, report, table
from benchmarks.contender import Contender
from benchmarks.measures import Measure, Sizes
from benchmarks.results import Results, Sample, p95, read
from server.errors import MistakeError, StackError

STARTS = {"prefork": [0.4, 0.2, 0.3, 0.9], "stock": [9.5, 12.0, 7.0, 10.0], "dbos": [0.11]}


def sample(contender: str, measure: str, values: list[float]) -> Sample:
    return Sample(contender=contender, measure=measure, round=1, load=0.5, values=values)


@pytest.fixture
def results() -> Results:
    """A run of three contenders, of which one took part in a single measure, and one left out."""
    samples = [sample(name, "start", values) for name, values in STARTS.items()]
    samples += [sample("prefork", "burst", [200.0]), sample("stock", "burst", [13.3])]
    samples += [sample("stock", "memory-idle", [100.0 * 2**20])]
    return Results(
        taken="2030-01-02T03:04:05+00:00",
        command="scripts/stack bench --rounds 1",
        machine={"cores": "2", "kernel": "6.1"},
        settings={"rounds": 1, "starts": 4, "burst": 100, "soak": 0, "width": 10},
        titles={"prefork": "Prefork", "stock": "Stock", "dbos": "DBOS", "airflow": "Airflow"},
        versions={"stock": {"prefect": "3.8.8"}},
        samples=samples,
        left_out={"airflow": "it cannot be installed here"},
    )


def rows(page: str, heading: str) -> dict[str, list[str]]:
    """Return the rows of the table below a heading by their first cell."""
    part = page.split(f"## {heading}\n")[1].split("\n## ", maxsplit=1)[0]
    table = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in table}


def test_p95_is_a_value_that_was_measured() -> None:
    assert p95([float(each) for each in range(30, 0, -1)]) == 29
    assert p95([float(each) for each in range(1, 21)]) == 19
    assert p95([1.0, 2.0]) == 2
    assert p95([7.0]) == 7


def test_each_measure_shows_least_median_p95_and_greatest(results: Results) -> None:
    cells = rows(report.render(results), "start")
    assert cells["Prefork"] == ["0.20", "0.35", "0.90", "0.90", "4"]
    assert cells["Stock"] == ["7.00", "9.75", "12.0", "12.0", "4"]
    assert cells["DBOS"] == ["0.11", "0.11", "0.11", "0.11", "1"]


def test_bytes_are_shown_as_megabytes(results: Results) -> None:
    assert rows(report.render(results), "idle")["Stock"] == ["100", "100", "100", "100", "1"]


def test_a_measure_that_nobody_took_has_no_table(results: Results) -> None:
    assert "## ready" not in report.render(results)


def test_who_is_ahead_of_prefork_is_said(results: Results) -> None:
    page = report.render(results)
    lost = page.split("## Where prefork is behind\n")[1].split("\n## ")[0]
    assert "- start, s (0.35): DBOS (0.11)." in lost
    assert "Stock" not in lost


def test_what_others_have_and_prefork_lacks_is_said(results: Results) -> None:
    assert "- idle: prefork has no figure, others have." in report.render(results)


def test_threads_are_explained_only_where_they_are_ahead(results: Results) -> None:
    assert "run jobs in threads" in report.render(results)
    results.samples = [each for each in results.samples if each.contender != "dbos"]
    assert "run jobs in threads" not in report.render(results)


def test_prefork_is_compared_with_the_process_worker_as_it_comes(results: Results) -> None:
    page = report.render(results)
    assert "| start, p50: stock / prefork | 27.9 |" in page
    assert "| burst: prefork / stock | 15.0 |" in page
    assert "| start of prefork, p50, s | 0.35 |" in page
    assert "| start of prefork, p95, s | 0.90 |" in page


def test_there_is_no_ratio_to_what_was_not_measured(results: Results) -> None:
    results.samples = [each for each in results.samples if each.contender != "stock"]
    page = report.render(results)
    assert "stock / prefork" not in page
    assert "| start of prefork, p50, s | 0.35 |" in page


def test_the_parts_of_a_start_are_on_the_page_when_they_were_taken(results: Results) -> None:
    heading = "Where the time of a start goes"
    assert heading not in report.render(results)
    results.profile = profile.medians([[0.01] * 7, [0.02] * 7, [0.03] * 7])
    cells = rows(report.render(results), heading)
    assert cells[profile.PARTS[0]] == ["20"]
    assert cells[f"**{profile.TOTAL}**"] == ["**140**"]


def test_the_best_of_a_column_is_the_fastest_or_the_busiest(results: Results) -> None:
    best = re.findall(r"\*\*(.+?)\*\*", report.render(results))
    assert sorted(best) == ["0.11", "100", "200"]


def test_who_was_left_out_is_named_with_the_reason(results: Results) -> None:
    assert "- Airflow: it cannot be installed here" in report.render(results)


def test_the_chart_names_each_contender_and_its_median(results: Results) -> None:
    texts = [each.text for each in ET.fromstring(chart.draw(results)).iter() if each.text]  # noqa: S314 - ours
    for name, values in STARTS.items():
        place = texts.index(results.titles[name])
        assert texts[place + 1] == columns.shown(statistics.median(values))
    assert "Airflow" not in texts


def test_the_bar_of_a_longer_time_is_longer(results: Results) -> None:
    tags = ET.fromstring(chart.draw(results)).iter("{http://www.w3.org/2000/svg}rect")  # noqa: S314 - ours
    prefork, stock, dbos = [float(each.attrib["width"]) for each in list(tags)[1:4]]
    assert stock > prefork > dbos > 0


def test_page_chart_and_raw_figures_are_written_together(results: Results, tmp_path: Path) -> None:
    source = tmp_path / "raw.json"
    results.write(source)
    written = report.write(source, tmp_path / "docs")
    assert [each.name for each in written] == [
        "benchmarks.md",
        "benchmarks.svg",
        "benchmarks.json",
    ]
    assert all(each.exists() for each in written)
    assert read(written[2]) == results


def test_a_file_that_holds_no_figures_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "raw.json").write_text("{}")
    with pytest.raises(MistakeError, match=r"raw\.json cannot be read"):
        report.write(tmp_path / "raw.json", tmp_path / "docs")
    assert not (tmp_path / "docs").exists()


def test_a_contender_that_is_not_known_is_a_mistake_that_names_those_that_are(
    tmp_path: Path,
) -> None:
    with pytest.raises(MistakeError, match=r"one of prefork, stock, stock-tuned"):
        command.run(["celery"], [], (1, 1, 1, 1), tmp_path / "raw.json")


def test_every_contender_with_an_environment_of_its_own_pins_what_is_in_it() -> None:
    folder = Path(table.__file__).with_name("contenders")
    for pins in folder.glob("*.txt"):
        lines = pins.read_text().split("\n")
        packages = [line for line in lines if line and not line.startswith("#")]
        assert packages
        assert [line for line in packages if "==" not in line] == []


def test_the_verdict_of_a_soak_is_on_the_page(results: Results) -> None:
    results.soaks["prefork"] = {"verdict": "2 threads left", "runs": 2000.0}
    cells = rows(report.render(results), "soak")
    assert cells["Prefork"] == ["runs", "2000"]
    assert "| Prefork | verdict | 2 threads left |" in report.render(results)


def test_the_parts_of_a_start_are_between_the_requests_that_mark_them() -> None:
    requests = [
        (9.0, f"POST /api/work_pools/POOL/{profile.POLL}"),  # of the run before
        (10.2, f"POST /api/work_pools/POOL/{profile.POLL}"),  # in vain
        (10.3, f"POST /api/work_pools/POOL/{profile.POLL}"),
        (10.4, profile.STATE),
        (10.45, profile.READ),
        (10.7, profile.STATE),
        (10.8, profile.READ),
        (10.95, profile.STATE),
    ]
    marks = profile.marks(10.0, 10.1, 10.5, 10.9, requests)
    assert marks == [10.0, 10.1, 10.2, 10.4, 10.5, 10.7, 10.8, 10.9]
    assert len(marks) == len(profile.PARTS) + 1


class Scripted(Contender):
    """Fails in a round for which `faults` has an error."""

    name = "scripted"
    title = "Scripted"
    uses_prefect = False
    faults: list[Exception | None]

    def versions(self) -> dict[str, str]:
        return {}

    start = submit = timings = cast("Any", None)


class Bare(bench.Bench):
    """A bench without a ground, in which a round yields one figure, its number."""

    def __init__(self, results: Results, to: Path) -> None:
        self.results = results.model_copy(deep=True)
        self.sizes = Sizes(rounds=3)
        self.wanted = [Measure.ready]
        self.to = to
        self.soaked = []

    def _round(self, contender: Contender, number: int) -> None:
        def figures() -> Iterator[tuple[str, list[float]]]:
            yield "ready", [float(number)]

        self._keep(contender, number, figures())
        if error := cast("Scripted", contender).faults.pop(0):
            raise error


@pytest.mark.parametrize(
    ("faults", "kept", "why"),
    [
        ([None] * 4, [1, 2, 3], None),
        ([None, KeyError("x"), None, None, None], [1, 2, 3], None),
        ([None, None, OSError("a\n b"), StackError("no\nend")], [1, 2], "no end"),
        ([AssertionError(), ValueError("a\n b")], [], "ValueError('a\\n b')"),
    ],
)
def test_a_contender_is_left_out_when_its_round_has_failed_twice(
    results: Results,
    tmp_path: Path,
    faults: list[Exception | None],
    kept: list[float],
    why: str | None,
) -> None:
    bare = Bare(results, tmp_path / "raw.json")
    contender = Scripted(cast("Any", None))
    contender.faults = list(faults)
    taking_part: list[Contender] = [contender]
    bare.rounds(taking_part)
    assert bare.results.values("scripted", "ready") == kept
    assert bare.results.left_out.get("scripted") == why
    assert taking_part == ([] if why else [contender])
    assert read(tmp_path / "raw.json") == bare.results


def test_nobody_is_first_in_every_round() -> None:
    orders = [bench.rotate("abcdefgh", number, 3) for number in range(1, 4)]
    assert len({each[0] for each in orders}) == 3
    assert all(sorted(each) == list("abcdefgh") for each in orders)
    assert bench.rotate("", 1, 3) == []


def test_an_answer_that_does_not_come_ends_who_was_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("benchmarks.contender.ASK_SECONDS", 0.2)
    layout = SimpleNamespace(logs=tmp_path)
    ground = SimpleNamespace(layout=layout, project=tmp_path, environment=lambda: dict(os.environ))
    contender = Scripted(cast("Any", ground))
    contender.spawn("server", [sys.executable, "-c", "input(); input()"], {}, pipe=True)
    try:
        with pytest.raises(StackError, match="server has ended, or took more than"):
            contender.ask("server", [])
    finally:
        contender.stop()


def test_a_run_that_was_ended_says_what_it_did_not_come_to(results: Results) -> None:
    del results.left_out["airflow"]
    page = " ".join(report.render(results).split())
    assert "- Airflow: the run was ended before its turn" in page
    assert "0 complete ones of 1 requested" in page
    whole = results.model_copy(update={"left_out": {"airflow": "it cannot be installed here"}})
    assert "rounds: 1, after" in " ".join(report.render(whole).split())


def test_what_takes_no_turns_is_added_to_the_figures_that_are_there(
    results: Results, tmp_path: Path
) -> None:
    bare = Bare(results, tmp_path / "raw.json")
    bare.results.command, bare.results.samples = "scripts/stack bench --measure soak", []
    bare.add_to(results)
    assert bare.results.samples == results.samples
    assert bare.results.command == f"{results.command} && scripts/stack bench --measure soak"


def test_what_takes_a_contender_long_is_taken_once(results: Results, tmp_path: Path) -> None:
    bare = Bare(results, tmp_path / "raw.json")
    bare.results.samples.append(sample("dbos", "steps-light", [180.0]))
    assert not bare.enough("prefork", Measure.burst)  # 100 runs in 30 s
    assert bare.enough("stock", Measure.burst)  # in 450 s
    assert not bare.enough("stock", Measure.start)
    assert not bare.enough("prefork", Measure.steps)
    assert bare.enough("dbos", Measure.steps)
