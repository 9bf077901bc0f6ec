"""Existing jobs show up as runs, and work when there is no server: docs/migrating.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.migrating import environments
from tests.migrating.jobs import Job, api_of, events, flow_runs, logs, task_runs
from tests.stack import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from tests.stack import Stack

AIRFLOW = "apache-airflow==3.3.2"
LUIGI = "luigi==3.8.1"


@pytest.fixture(scope="module")
def api(stack: Stack) -> dict[str, str]:
    """Address and login of the shared stack."""
    return api_of(stack)


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the shared stack."""
    with stack.client() as made:
        yield made


@pytest.fixture
def job(tmp_path: Path, api: dict[str, str]) -> Job:
    """A folder with the bare job."""
    return Job.make(tmp_path / "job", api)


@pytest.fixture(scope="module")
def luigi() -> Path:
    """A Python that has Luigi."""
    return environments.python_with(LUIGI)


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, api: dict[str, str]) -> Job:
    """A folder with the DAG, and Airflow's own database."""
    job = Job.make(
        tmp_path_factory.mktemp("airflow") / "job", api, environments.python_with(AIRFLOW)
    )
    job = Job(job.folder, {**api, **_airflow(job.folder)}, job.python)
    done = job.run("-m", "airflow", "db", "migrate")
    assert done.code == 0, done.err
    return job


class TestEmr:
    """A bare script."""

    def test_the_steps_of_the_job_are_runs_below_one_another(
        self, job: Job, client: httpx.Client
    ) -> None:
        done = job.run("emr_job.py", "good.csv", "report")
        assert (done.code, done.out) == (0, "wrote 2 rows\n"), done.err

        whole, part = (
            flow_runs(client, "my_emr_job")[0],
            flow_runs(client, "my_emr_job.transform")[0],
        )
        assert (whole["state_type"], part["state_type"]) == ("COMPLETED", "COMPLETED")
        above, below = task_runs(client, whole), task_runs(client, part)
        assert set(above) == {"my_emr_job.transform", "my_emr_job.write"}
        assert set(below) == {"my_emr_job.transform.rename", "my_emr_job.transform.cast"}
        assert part["parent_task_run_id"] == above["my_emr_job.transform"]["id"]
        assert {each["state_type"] for each in (above | below).values()} == {"COMPLETED"}

    def test_what_it_logs_and_prints_is_in_the_log_of_the_step(
        self, job: Job, client: httpx.Client
    ) -> None:
        job.run("emr_job.py", "good.csv", "report")
        whole, part = (
            flow_runs(client, "my_emr_job")[0],
            flow_runs(client, "my_emr_job.transform")[0],
        )
        lines = [
            (each["task_run_id"], each["name"], each["message"]) for each in logs(client, part)
        ]
        rename = task_runs(client, part)["my_emr_job.transform.rename"]["id"]
        assert lines == [(rename, "my_emr_job", "renaming 2 rows")]
        lines = [
            (each["task_run_id"], each["name"], each["message"]) for each in logs(client, whole)
        ]
        write = task_runs(client, whole)["my_emr_job.write"]["id"]
        assert lines == [(write, "print", "wrote 2 rows")]

    def test_a_job_that_fails_is_a_failed_run_that_alerts_can_be_made_of(
        self, job: Job, client: httpx.Client
    ) -> None:
        done = job.run("emr_job.py", "bad.csv", "report")
        error = "ValueError: could not convert string to float: 'two'"
        assert (done.code, done.err.splitlines()[-1]) == (1, error)
        run = flow_runs(client, "my_emr_job")[0]
        assert (run["state_type"], run["state"]["message"]) == ("FAILED", error)
        assert "in cast" in logs(client, run)[-1]["message"]
        part = task_runs(client, flow_runs(client, "my_emr_job.transform")[0])
        assert part["my_emr_job.transform.cast"]["state_type"] == "FAILED"
        assert part["my_emr_job.transform.rename"]["state_type"] == "COMPLETED"
        failed = "prefect.flow-run.Failed"
        wait_for(f"event {failed}", lambda: failed in events(client, run))


class TestLuigi:
    """A Luigi pipeline."""

    @pytest.mark.parametrize("workers", ["1", "2"], ids=["in one process", "in forked ones"])
    def test_its_tasks_are_task_runs_with_their_logs(
        self, luigi: Path, tmp_path: Path, api: dict[str, str], client: httpx.Client, workers: str
    ) -> None:
        job = Job.make(tmp_path / "job", api, luigi)
        (job.folder / "out").mkdir()
        chosen = {"PREFECT_LOGGING_EXTRA_LOGGERS": "orders"}
        done = job.run("luigi_job.py", "good.csv", "out", workers, **chosen)
        assert (done.code, job.read("out/total.txt")) == (0, "3.5"), done.err
        run = flow_runs(client, "orders")[0]
        steps = task_runs(client, run)
        states = {name: each["state_type"] for name, each in steps.items()}
        assert run["state_type"] == "COMPLETED"
        assert states == {"orders.cast": "COMPLETED", "orders.total": "COMPLETED"}
        lines = [(each["task_run_id"], each["message"]) for each in logs(client, run)]
        assert lines == [(steps["orders.cast"]["id"], "cast 2 rows")]

    def test_a_task_that_fails_makes_the_flow_run_fail(
        self, luigi: Path, tmp_path: Path, api: dict[str, str], client: httpx.Client
    ) -> None:
        job = Job.make(tmp_path / "job", api, luigi)
        assert job.run("luigi_job.py", "bad.csv", "out", "1").code == 1
        run = flow_runs(client, "orders")[0]
        states = {name: each["state_type"] for name, each in task_runs(client, run).items()}
        assert (run["state_type"], states) == ("FAILED", {"orders.cast": "FAILED"})

    def test_it_works_without_a_server(self, luigi: Path, tmp_path: Path) -> None:
        job = Job.make(tmp_path / "job", {"PREFECT_API_URL": "http://127.0.0.1:1/api"}, luigi)
        done = job.run("luigi_job.py", "good.csv", "out", "2")
        assert (done.code, job.read("out/total.txt")) == (0, "3.5"), done.err
        assert "tracking lost: the server does not answer" in done.err


class TestAirflow:
    """A DAG, as `airflow dags test` runs it."""

    def test_a_run_of_the_dag_is_a_flow_run_and_its_tasks_are_task_runs(
        self, airflow: Job, client: httpx.Client
    ) -> None:
        done = airflow.run("-m", "airflow", "dags", "test", "orders_dag", "2026-01-01")
        assert (done.code, airflow.read("report")) == (0, "3.5\n"), done.err
        run = flow_runs(client, "orders_dag")[0]
        steps = task_runs(client, run)
        states = {name: each["state_type"] for name, each in steps.items()}
        assert run["name"].startswith("manual__")
        assert run["state_type"] == "COMPLETED"
        assert states == {"orders_dag.cast": "COMPLETED", "orders_dag.total": "COMPLETED"}
        lines = [(each["task_run_id"], each["message"]) for each in logs(client, run)]
        assert (steps["orders_dag.cast"]["id"], "cast 2 rows") in lines

    def test_a_task_that_fails_makes_the_flow_run_fail(
        self, airflow: Job, client: httpx.Client
    ) -> None:
        arguments = ("-m", "airflow", "dags", "test", "orders_dag", "2026-01-02")
        assert airflow.run(*arguments, ORDERS="bad.csv").code == 1
        run = flow_runs(client, "orders_dag")[0]
        states = {name: each["state_type"] for name, each in task_runs(client, run).items()}
        assert (run["state_type"], states) == ("FAILED", {"orders_dag.cast": "FAILED"})

    def test_it_works_without_a_server(self, airflow: Job) -> None:
        arguments = ("-m", "airflow", "dags", "test", "orders_dag", "2026-01-03")
        gone = {"PREFECT_API_URL": "http://127.0.0.1:1/api", "REPORT": "untracked"}
        done = airflow.run(*arguments, **gone)
        assert (done.code, airflow.read("untracked")) == (0, "3.5\n"), done.err
        assert "tracking lost: the server does not answer" in done.out + done.err


def _airflow(folder: Path) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(folder),
        "ORDERS": "good.csv",
        "REPORT": "report",
    }
