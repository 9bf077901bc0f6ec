"""The benchmarks run end to end; sizes are tiny, and no figure has to be fast."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psutil
import pytest

from benchmarks import bench, report, table
from benchmarks.columns import shown
from benchmarks.measures import Measure, Sizes
from benchmarks.results import Results, read

if TYPE_CHECKING:
    from pathlib import Path

CONTENDERS = ["stock-tuned", "task-serve"]
WANTED = [each for each in Measure if each is not Measure.soak]
MEASURED = {
    *("start", "burst", "ready", "steps-light", "steps-heavy"),
    *("memory-idle", "memory-run", "memory-server"),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of raw figures of a run of two contenders."""
    to = tmp_path_factory.mktemp("bench") / "raw.json"
    sizes = Sizes(rounds=1, starts=2, burst=4)
    bench.run(CONTENDERS, WANTED, sizes, to)
    return to


@pytest.fixture
def results(source: Path) -> Results:
    return read(source)


def test_a_stack_is_measured_from_its_start_to_its_end(tmp_path: Path) -> None:
    to = tmp_path / "raw.json"
    bench.run(["prefork"], [Measure.start, Measure.burst], Sizes(rounds=1, starts=2, burst=4), to)
    results = read(to)
    assert results.left_out == {}
    assert len(results.values("prefork", "start")) == 2
    assert min(results.values("prefork", "start")) > 0
    assert len(results.values("prefork", "burst")) == 1
    assert left_running() == []


@pytest.mark.slow  # several stacks, one after the other
class TestTwoContenders:
    """Every measure, of the two contenders that differ most."""

    def test_nobody_is_left_out_and_every_measure_is_taken(self, results: Results) -> None:
        assert results.left_out == {}
        for name in CONTENDERS:
            assert {each.measure for each in results.samples if each.contender == name} == MEASURED

    def test_there_are_as_many_values_as_were_asked_for(self, results: Results) -> None:
        for name in CONTENDERS:
            assert len(results.values(name, "start")) == 2
            assert len(results.values(name, "burst")) == 1

    def test_no_figure_is_zero_or_less(self, results: Results) -> None:
        # One more thread may free as much memory as it takes.
        may = ("task-serve", "memory-run")
        wrong = [each for each in results.samples if min(each.values) <= 0]
        assert [each for each in wrong if (each.contender, each.measure) != may] == []

    def test_a_process_for_each_run_takes_more_than_a_thread(self, results: Results) -> None:
        stock, task = (min(results.values(name, "memory-run")) for name in CONTENDERS)
        assert stock > 10 * 2**20
        assert stock > task

    def test_versions_and_machine_are_written_down(self, results: Results) -> None:
        assert set(results.versions) == set(CONTENDERS)
        assert results.machine["PostgreSQL"].startswith("18.")
        assert {"kernel", "cores", "load average", "Python"} <= set(results.machine)

    def test_the_page_holds_what_was_measured(self, source: Path, results: Results) -> None:
        page = report.write(source, source.parent / "docs")[0].read_text()
        for name in CONTENDERS:
            assert f"| {table.BY_NAME[name].title} |" in page
            assert shown(max(results.values(name, "start"))) in page

    @pytest.mark.usefixtures("source")
    def test_nothing_is_left_running(self) -> None:
        assert left_running() == []


def left_running() -> list[psutil.Process]:
    """Return the processes that are left of the stacks which this process has measured."""
    left = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get("STACK_SUPERVISED", "")
            if marked.endswith(f"/bench-{os.getpid()}"):
                left.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return left
