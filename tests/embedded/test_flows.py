"""The shipped flows, and the example in docs/flows.md, on a real server."""

from __future__ import annotations

import csv
import tarfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.embedded.flow_probes import probe
from tests.embedded.runs import logged
from tests.stack import complete, deployment, finished, get, post, start_run, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stack import Stack


def below(client: httpx.Client, run_id: str) -> dict[str, Any]:
    """Return the tree of tasks and flows that ran below a flow run, by their names."""
    runs = post(
        client, "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}}
    )
    tasks = post(client, "/task_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}})
    flows = {get(client, f"/flows/{run['flow_id']}")["name"]: run["id"] for run in runs}
    names = {task["name"].rpartition("-")[0] for task in tasks}
    return {
        **{name: below(client, child) for name, child in flows.items()},
        **{name: {} for name in names if name not in flows},
    }


def artifacts(client: httpx.Client, key: str, flow_run_id: str) -> list[Any]:
    """Return the data of the artifacts with this key that a flow run or its subflows created."""
    runs = post(
        client, "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [flow_run_id]}}}
    )
    ids = [flow_run_id, *(run["id"] for run in runs)]
    body = {"artifacts": {"flow_run_id": {"any_": ids}, "key": {"any_": [key]}}}
    return [artifact["data"] for artifact in post(client, "/artifacts/filter", body)]


def data_folder(stack: Stack) -> Path:
    """Return the folder that the flows of a stack write their files to."""
    return stack.root / ".stack" / stack.name / "data"


@pytest.fixture(scope="module")
def sample(stack: Stack) -> str:
    """The id of a completed run of vtasks on the sample data."""
    with stack.client() as client:
        return str(complete(client, "vtasks/vtasks")["id"])


class TestHello:
    def test_tasks_and_subflows_are_below_the_run(self, stack: Stack) -> None:
        with stack.client() as client:
            run = complete(client, "hello/hello")["id"]
            tree: dict[str, Any] = {
                "hello.greet": {},
                "hello.farewell": {"hello.farewell.wave": {}},
            }
            wait_for("runs below hello", lambda: below(client, run) == tree, 30)


class TestExport:
    def test_its_run_is_tagged_with_its_environment_and_keeps_its_tags(self, stack: Stack) -> None:
        with stack.client() as client:
            created = post(
                client,
                f"/deployments/{deployment(client, 'export/export')['id']}/create_flow_run",
                {"parameters": {"env": "pro"}, "tags": ["asked:by-hand"]},
            )
            run = finished(client, created["id"])
        assert run["state_type"] == "COMPLETED"
        assert set(run["tags"]) == {"asked:by-hand", "team:example", "env:pro"}

    def test_the_file_looks_as_the_form_says(self, stack: Stack) -> None:
        output = {"delimiter": "semicolon", "header": False, "max_rows": 3}
        with stack.client() as client:
            run = complete(client, "export/export", {"env": "snd", "output": output})["id"]
            line = logged(client, run, "of which max_rows=3 are kept")
        assert line["level"] == 30
        (path,) = (data_folder(stack) / "exports").glob(f"*{run}.csv")
        with path.open() as file:
            rows = list(csv.reader(file, delimiter=";"))
        assert [row[:2] for row in rows] == [["1.10", "snd"]] * 3

    @pytest.mark.parametrize(
        "parameters",
        [
            {"env": "production"},
            {"env": "pro", "output": {"max_rows": 0}},
            {"env": "pro", "output": {"delimiter": "dot"}},
            {"env": "pro", "output": {"heading": True}},
        ],
        ids=str,
    )
    def test_a_wrong_value_is_refused_and_no_run_is_made(
        self, stack: Stack, parameters: dict[str, object]
    ) -> None:
        with stack.client() as client:
            deployment_id = deployment(client, "export/export")["id"]
            runs = {"flow_runs": {"deployment_id": {"any_": [deployment_id]}}}
            before = post(client, "/flow_runs/count", runs)
            answer = client.post(
                f"/deployments/{deployment_id}/create_flow_run", json={"parameters": parameters}
            )
            assert answer.status_code == httpx.codes.CONFLICT
            assert "Validation failed" in answer.json()["detail"]
            assert post(client, "/flow_runs/count", runs) == before


class TestVtasks:
    TREE: dict[str, Any] = {  # noqa: RUF012 - compared only
        "vtasks.backup": {
            "vtasks.backup.backup_files": {},
            "vtasks.backup.copy": {},
            "vtasks.backup.clean_backups": {},
        },
        "vtasks.expensor": {"vtasks.expensor.read": {}, "vtasks.expensor.report": {}},
    }

    def test_it_works_on_the_sample_data(self, stack: Stack, sample: str) -> None:
        with stack.client() as client:
            wait_for("runs below vtasks", lambda: below(client, sample) == self.TREE, 30)
            (report,) = artifacts(client, "expenses", sample)
            children = {"flow_runs": {"parent_flow_run_id": {"any_": [sample]}}}
            tags = [child["tags"] for child in post(client, "/flow_runs/filter", children)]
        assert tags == [["type:vtasks"]] * 2
        assert report.startswith("# Expenses of 2026-09\n")
        assert "data:image/svg+xml;base64," in report
        for folder in ("backups", "mirror"):
            archives = sorted((data_folder(stack) / folder).glob("data-*.tar.gz"))
            with tarfile.open(archives[-1]) as tar:
                assert {"expenses.csv", "orders.csv"} <= set(tar.getnames())

    def test_it_works_on_folders_that_are_given(self, stack: Stack, tmp_path: Path) -> None:
        source, backups, mirror = (tmp_path / name for name in ("source", "backups", "mirror"))
        (source / "deep").mkdir(parents=True)
        (source / "deep/note.txt").write_text("first")
        (backups).mkdir()
        (backups / "precious.tar.gz").write_text("of somebody else")
        expenses = tmp_path / "mine.csv"
        expenses.write_text(
            "date,category,description,amount\n2026-01-31,Food,Tea,2.50\n2026-02-01,Food,Tea,3\n"
        )
        parameters = {
            "source": str(source),
            "backups": str(backups),
            "mirror": str(mirror),
            "keep": 1,
            "expenses": str(expenses),
            "month": "2026-01-01",
        }
        with stack.client() as client:
            complete(client, "vtasks/vtasks", parameters)
            (first,) = mirror.iterdir()
            (source / "deep/note.txt").write_text("second")
            run = complete(client, "vtasks/vtasks", parameters)["id"]
            (report,) = artifacts(client, "expenses", run)
        (copied,) = mirror.iterdir()
        assert copied.name != first.name
        assert sorted(backups.iterdir()) == sorted(
            [backups / copied.name, backups / "precious.tar.gz"]
        )
        with tarfile.open(copied) as tar:
            note = tar.extractfile("deep/note.txt")
            assert note
            assert note.read() == b"second"
        assert "1 expenses, **2.50 EUR**" in report

    def test_what_it_prints_is_in_the_run_log(self, stack: Stack, sample: str) -> None:
        with stack.client() as client:
            logged(client, sample, "vtasks.backup: Completed")
            children = {"flow_runs": {"parent_flow_run_id": {"any_": [sample]}}}
            first = post(client, "/flow_runs/filter", {**children, "sort": "START_TIME_ASC"})[0]
            logged(client, first["id"], "Copied it to ")

    def test_one_part_that_fails_says_so_and_does_not_keep_the_other(self, stack: Stack) -> None:
        with stack.client() as client:
            parameters = {"source": "/no/such/folder", "month": "2026-08-15"}
            run = finished(client, start_run(client, "vtasks/vtasks", parameters))
            assert run["state_type"] == "FAILED"
            message = run["state"]["message"]
            assert "source: expected a folder, found nothing at /no/such/folder" in message
            assert "vtasks.expensor" not in message
            (report,) = artifacts(client, "expenses", run["id"])
            assert report.startswith("# Expenses of 2026-08\n")


class TestDaily:
    def test_of_five_triggers_at_once_one_works(self, stack: Stack) -> None:
        with stack.client() as client, ThreadPoolExecutor(5) as executor:

            def trigger(_: int) -> dict[str, Any]:
                run = start_run(client, "daily/daily", {"env": "snd"})
                return finished(client, run)

            runs = list(executor.map(trigger, range(5)))
            assert {run["state_type"] for run in runs} == {"COMPLETED"}
            worked = [run for run in runs if run["state"]["message"].startswith("Worked: ")]
            # There are two if midnight came in between: one for each day.
            assert len({run["start_time"][:10] for run in worked}) == len(worked) >= 1
            skipped = [run for run in runs if run["state_name"] == "Skipped"]
            assert len(worked) + len(skipped) == 5
            for run in skipped:
                assert run["state"]["message"] in {
                    "another run is doing the work for snd",
                    "the work for snd was already done today",
                }
                logged(client, run["id"], "Skipped: ")
            for run in worked:
                assert below(client, run["id"]) == {"daily.report": {"daily.report.count": {}}}
                assert artifacts(client, "daily", run["id"])

    def test_work_that_failed_is_done_by_the_next_trigger(self, stack: Stack) -> None:
        failed, worked, skipped = probe(stack, "daily", "pre")
        assert failed.startswith("Failed: ")
        assert "on purpose" in failed
        assert worked.startswith("Completed: Worked: ")
        assert skipped == "Skipped: the work for pre was already done today"


def test_the_example_of_the_documents_runs_as_it_says(stack: Stack) -> None:
    text = (stack.root / "docs/flows.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    command = next(
        line for line in text.splitlines() if "flows/greetings.py" in line and "$" in line
    )
    (stack.root / "flows/greetings.py").write_text(code)
    try:
        script = f'eval "$(scripts/stack env)" && {command.removeprefix("$ ")}'
        result = stack.run("sh", "-c", script)
        assert result.returncode == 0, stack.said[-1]
        assert "Good morning, Grace!" in result.stdout + result.stderr
    finally:
        (stack.root / "flows/greetings.py").unlink()
