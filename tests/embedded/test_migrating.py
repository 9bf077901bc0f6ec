"""Existing jobs are shown as runs, and work without a server, as docs/migrating.md says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.migrating import environments
from tests.migrating.jobs import Job, api_of, events, flow_runs, task_runs
from tests.stack import free_port, log, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from tests.stack import Stack

AIRFLOW = "apache-airflow==3.3.2"
LUIGI = "luigi==3.8.1"


@pytest.fixture(scope="module")
def api(stack: Stack) -> dict[str, str]:
    """The variables with the address and the login of the shared stack."""
    return api_of(stack)


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    """An API client of the shared stack."""
    with stack.client() as client:
        yield client


@pytest.fixture
def job(tmp_path: Path, api: dict[str, str]) -> Job:
    """A folder with the jobs and the tracking, for the shared stack."""
    return Job.make(tmp_path / "job", api)


@pytest.fixture(scope="module")
def luigi() -> Path:
    """The interpreter of an environment with Luigi."""
    return environments.python_with(LUIGI)


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, api: dict[str, str]) -> Job:
    """A folder with the DAG and a migrated database of Airflow."""
    job = Job.make(
        tmp_path_factory.mktemp("airflow") / "job", api, environments.python_with(AIRFLOW)
    )
    job = Job(job.folder, {**api, **_airflow(job.folder)}, job.python)
    done = job.run("-m", "airflow", "db", "migrate")
    assert done.code == 0, done.err
    return job


class TestEmr:
    """A plain script, as it is submitted to EMR."""

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
            (each["task_run_id"], each["name"], each["message"]) for each in log(client, part["id"])
        ]
        rename = task_runs(client, part)["my_emr_job.transform.rename"]["id"]
        assert lines == [(rename, "my_emr_job", "renaming 2 rows")]
        lines = [
            (each["task_run_id"], each["name"], each["message"])
            for each in log(client, whole["id"])
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
        assert run["tags"] == ["alert"]
        assert flow_runs(client, "my_emr_job.transform")[0]["tags"] == []
        assert "in cast" in log(client, run["id"])[-1]["message"]
        part = task_runs(client, flow_runs(client, "my_emr_job.transform")[0])
        assert part["my_emr_job.transform.cast"]["state_type"] == "FAILED"
        assert part["my_emr_job.transform.rename"]["state_type"] == "COMPLETED"
        failed = "prefect.flow-run.Failed"
        wait_for(f"event {failed}", lambda: failed in events(client, run))


@pytest.mark.slow  # Luigi in an environment of its own
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
        lines = [(each["task_run_id"], each["message"]) for each in log(client, run["id"])]
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


@pytest.mark.slow  # Airflow in an environment of its own
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
        lines = [(each["task_run_id"], each["message"]) for each in log(client, run["id"])]
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


class TestDecorators:
    """What the decorators may and may not decorate, and what they leave alone."""

    def test_an_error_of_the_job_is_its_own_even_when_it_looks_like_one_of_tracking(
        self, job: Job, api: dict[str, str], client: httpx.Client
    ) -> None:
        text = """
from urllib.error import URLError
from tracking import flow, task
calls, error = [], URLError("refused")

@task(name="own_error.step")
def step():
    calls.append(1)
    raise error

@flow(name="own_error")
def main():
    step()

try:
    main()
except URLError as caught:
    assert caught is error
print(len(calls))
"""
        done = Job(job.folder, api).run(job.write(text))
        assert (done.code, done.out, done.err) == (0, "1\n", "")
        assert flow_runs(client, "own_error")[0]["state_type"] == "FAILED"
        done = job.run("job.py", PREFECT_API_URL=f"http://127.0.0.1:{free_port()}/api")
        assert (done.code, done.out) == (0, "1\n")

    def test_coroutines_threads_and_tasks_in_tasks_are_below_what_calls_them(
        self, job: Job, api: dict[str, str], client: httpx.Client
    ) -> None:
        text = """
import asyncio, logging
from concurrent.futures import ThreadPoolExecutor
from tracking import flow, task
logging.basicConfig(level=logging.INFO)

@task(name="mixed.outer.inner")
def inner(number):
    logging.info("inner %d", number)
    return number

@task(name="mixed.outer")
async def outer(number):
    await asyncio.sleep(0)
    return inner(number)

@task(name="mixed.thread")
def thread(number):
    return number

@flow(name="mixed")
async def main():
    found = await asyncio.gather(outer(1), outer(2))
    with ThreadPoolExecutor() as pool:
        return [*found, pool.submit(thread, 3).result()]

print(asyncio.run(main()))
"""
        done = Job(job.folder, api).run(job.write(text))
        assert (done.code, done.out) == (0, "[1, 2, 3]\n"), done.err
        (run,) = flow_runs(client, "mixed")
        steps = task_runs(client, run)
        assert set(steps) == {"mixed.outer", "mixed.outer.inner", "mixed.thread"}
        assert {each["state_type"] for each in steps.values()} == {"COMPLETED"}
        assert "__parents__" in steps["mixed.outer.inner"]["task_inputs"]
        messages = {each["message"] for each in log(client, run["id"])}
        assert messages == {"inner 1", "inner 2"}

    def test_a_generator_is_refused_where_it_is_decorated(self, job: Job) -> None:
        text = "from tracking import task\n@task(name='x')\ndef run():\n    yield 1\n"
        done = job.run(job.write(text))
        assert done.err.splitlines()[-1].startswith("TypeError: run is a generator")

    def test_logging_that_the_job_sets_up_later_is_as_it_would_be(
        self, job: Job, api: dict[str, str]
    ) -> None:
        text = """
import logging
from tracking import flow

@flow(name="late", log_prints=True)
def main():
    logging.warning("before")
    logging.basicConfig(level=logging.INFO, format="set up: %(message)s", force=False)
    logging.getLogger("a").info("after \\udc80 \\0")
    print("one", 2, sep="-")

main()
"""
        name = job.write(text)
        done = Job(job.folder, api).run(name)
        plain = job.without_tracking(job.folder.parent / "plain")
        wanted = plain.run(plain.write(text))
        assert (done.code, done.out, done.err) == (wanted.code, wanted.out, wanted.err)


def _airflow(folder: Path) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(folder),
        "ORDERS": "good.csv",
        "REPORT": "report",
    }
