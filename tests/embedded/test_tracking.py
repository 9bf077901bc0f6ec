"""Whatever happens to the server, a tracked job works once and ends as it would untracked."""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.relay import relaying
from tests import stack as stacks
from tests.migrating.broken_server import answering
from tests.migrating.jobs import Job, api_of, events, flow_runs, task_runs
from tests.stack import SOURCE, complete, free_port, get, log, make, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from tests.stack import Stack

# A job whose steps leave marks when they begin; the first waits until the test has done its harm.
INTERRUPTED = """
import sys, time
from pathlib import Path
from tracking import flow, task

def mark(line):
    with open("marks", "a") as file:
        file.write(line + "\\n")

@task(name="{name}.first")
def first():
    mark("first")
    while not Path("go").exists():
        time.sleep(0.05)

@task(name="{name}.second")
def second():
    mark("second")
    return 7

@flow(name="{name}")
def main():
    first()
    return second()

sys.exit(main())
"""
NO_ANSWER = "tracking lost: the server does not answer"
FAULT = "HTTP/1.1 500 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
AWAY = "HTTP/1.1 503 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
PAGE = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"
ABSENT = "HTTP/1.1 404 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
DEPLOYMENT = """
  - name: my_emr_job
    entrypoint: flows/my_emr_job.py:main
    parameters:
      orders: good.csv
      report: report
    schedules:
      - slug: every-night
        cron: "0 3 * * *"
        timezone: UTC
    work_pool:
      name: default
      job_variables:
        env:
          PREFECT_LOGGING_EXTRA_LOGGERS: my_emr_job
"""


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    """An API client of the shared stack."""
    with stack.client() as client:
        yield client


@pytest.fixture(scope="module")
def api(stack: Stack) -> dict[str, str]:
    """The variables with the address and the login of the shared stack."""
    return api_of(stack)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A folder with the jobs and the tracking, which knows no server."""
    return Job.make(tmp_path / "job", {})


def works(job: Job, api: dict[str, str], warning: str) -> None:
    """Check that the job ends as without tracking, on good and bad input, and warns."""
    job = Job(job.folder, api)
    plain = job.without_tracking(job.folder.parent / "plain")
    for orders in ("good.csv", "bad.csv"):
        done, wanted = (tried.run("emr_job.py", orders, "report") for tried in (job, plain))
        assert (done.code, done.out) == (wanted.code, wanted.out), done.err
        assert job.read("report") == plain.read("report")
        assert done.err.splitlines()[-1] == wanted.err.splitlines()[-1] or orders == "good.csv"
        assert warning in done.err


def test_what_a_job_copies_needs_python_3_9_and_its_standard_library_only() -> None:
    imported = set()
    for path in sorted((SOURCE / "flows/tracking").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 9))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module).partition(".")[0])
    assert "urllib" in imported
    assert imported <= sys.stdlib_module_names


class TestNoServerAtTheStart:
    """Files, output and exit code of the job are those of the job without tracking."""

    def test_no_address(self, job: Job) -> None:
        works(job, {}, "PREFECT_API_URL is not set: the job runs untracked")

    def test_a_port_that_nothing_listens_on(self, job: Job) -> None:
        works(job, {"PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api"}, NO_ANSWER)

    def test_a_name_that_does_not_resolve(self, job: Job) -> None:
        works(job, {"PREFECT_API_URL": "http://prefect.invalid/api"}, NO_ANSWER)

    def test_an_address_that_is_not_a_url(self, job: Job) -> None:
        works(job, {"PREFECT_API_URL": "prefect"}, NO_ANSWER)

    @pytest.mark.parametrize(
        ("says", "warning"),
        [
            ("", NO_ANSWER),
            (FAULT, NO_ANSWER),
            (AWAY, NO_ANSWER),
            (PAGE, NO_ANSWER),
            (ABSENT, "tracking lost: /flows/ was answered with 404"),
        ],
        ids=["no answer", "500", "503", "a page", "404"],
    )
    def test_a_server_that_is_no_prefect_or_broken(self, job: Job, says: str, warning: str) -> None:
        with answering(says) as url:
            works(job, {"PREFECT_API_URL": url}, warning)

    def test_a_wrong_login(self, job: Job, api: dict[str, str]) -> None:
        wrong = {**api, "PREFECT_API_AUTH_STRING": "admin:wrong"}
        works(job, wrong, "tracking lost: the server refuses the login (401)")


class TestServerThatGoesInTheMiddle:
    """The job does every step once, and none twice."""

    def test_the_job_ends_as_it_would(
        self, job: Job, stack: Stack, api: dict[str, str], client: httpx.Client
    ) -> None:
        with relaying(stack.port, listens_on=free_port()) as relay:
            job = Job(job.folder, {**api, "PREFECT_API_URL": f"{relay.address}/api"})
            process = job.start(job.write(INTERRUPTED.format(name="cut")))
            run = wait_for("run of the first step", lambda: begun(client, "cut"))
            relay.disconnect()
            (job.folder / "go").touch()
            done = job.ended(process)
        assert (done.code, job.read("marks")) == (7, "first\nsecond\n"), done.err
        assert NO_ANSWER in done.err
        assert flow_runs(client, "cut")[0]["state_type"] == "RUNNING", run

    def test_a_server_that_is_back_before_the_end_is_told_all(
        self, job: Job, stack: Stack, api: dict[str, str], client: httpx.Client
    ) -> None:
        with relaying(stack.port, listens_on=free_port()) as relay:
            job = Job(job.folder, {**api, "PREFECT_API_URL": f"{relay.address}/api"})
            process = job.start(job.write(INTERRUPTED.format(name="mended")))
            wait_for("run of the first step", lambda: begun(client, "mended"))
            relay.disconnect()
            (job.folder / "go").touch()
            wait_for("second step", lambda: "second" in job.read("marks"))
            relay.reconnect()
            done = job.ended(process)
        assert (done.code, job.read("marks")) == (7, "first\nsecond\n"), done.err
        (run,) = flow_runs(client, "mended")
        states = {name: each["state_type"] for name, each in task_runs(client, run).items()}
        assert states == {"mended.first": "COMPLETED", "mended.second": "COMPLETED"}
        # The exit code 7 is the job's own: it calls `sys.exit` after the flow has ended.
        assert run["state_type"] == "COMPLETED"

    def test_a_running_job_has_a_heartbeat(
        self, job: Job, api: dict[str, str], client: httpx.Client
    ) -> None:
        job = Job(job.folder, api)
        process = job.start(job.write(INTERRUPTED.format(name="beating")))
        wait_for("run of the first step", lambda: begun(client, "beating"))
        (run,) = flow_runs(client, "beating")
        beat = "prefect.flow-run.heartbeat"
        wait_for("heartbeat", lambda: beat in events(client, run))
        (job.folder / "go").touch()
        job.ended(process)
        completed = "prefect.flow-run.Completed"
        wait_for("end", lambda: completed in events(client, run))
        assert events(client, run)[0] == completed


def begun(client: httpx.Client, name: str) -> bool:
    """Tell whether the server knows of the first step."""
    return any(f"{name}.first" in task_runs(client, run) for run in flow_runs(client, name))


class TestMoreThanThereIsTimeFor:
    """A job that ends does not wait until everything was sent."""

    def test_the_end_of_the_flow_run_is_sent_before_the_rest_is_left_out(
        self, job: Job, api: dict[str, str], client: httpx.Client
    ) -> None:
        text = """
from tracking import flow, recorder, task
recorder.FLUSH_SECONDS = 0.5

@task(name="many.step")
def step():
    return 1

@flow(name="many")
def main():
    return sum(step() for _ in range(1000))

print(main())
"""
        done = Job(job.folder, api).run(job.write(text))
        assert (done.code, done.out) == (0, "1000\n")
        assert "tracking lost" in done.err
        (run,) = flow_runs(client, "many")
        assert run["state_type"] == "COMPLETED", done.err


@pytest.mark.slow
class TestStackOfItsOwn:
    """A stack without a login, whose requests carry a CSRF token instead."""

    @pytest.fixture
    def free(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
        stack = make(tmp_path_factory, "free")
        (stack.root / ".env").write_text("STACK_AUTH=off\n")
        with stacks.stack(stack):
            stack.up()
            yield stack

    def test_the_job_is_tracked_then_outlives_the_stack_then_moves_into_it(
        self, job: Job, free: Stack
    ) -> None:
        job = Job(job.folder, api_of(free))
        with free.client() as client:
            client.headers.update(_csrf(client))
            assert job.run("emr_job.py", "good.csv", "report").code == 0
            assert flow_runs(client, "my_emr_job")[0]["state_type"] == "COMPLETED"
            process = job.start(job.write(INTERRUPTED.format(name="free")))
            wait_for("run of the first step", lambda: begun(client, "free"))
        free.down()
        (job.folder / "go").touch()
        done = job.ended(process)
        assert (done.code, job.read("marks")) == (7, "first\nsecond\n"), done.err
        assert NO_ANSWER in done.err

        text, name = (job.folder / "emr_job.py").read_text(), "flows/my_emr_job.py"
        (free.root / name).write_text(text.replace("from tracking import", "from prefect import"))
        (free.root / "good.csv").write_text(job.read("good.csv"))
        free.edit("prefect.yaml", lambda declared: declared + DEPLOYMENT)
        free.up()
        with free.client() as client:
            client.headers.update(_csrf(client))
            run = complete(client, "my_emr_job/my_emr_job")
            assert (free.root / "report").read_text() == job.read("report")
            part = flow_runs(client, "my_emr_job.transform")[0]
            assert (part["state_type"], run["state_type"]) == ("COMPLETED", "COMPLETED")
            assert part["parent_task_run_id"]
            wait_for("log of the step", lambda: "renaming 2 rows" in _messages(client, part))


def _csrf(client: httpx.Client) -> dict[str, str]:
    token = get(client, "/csrf-token?client=test")["token"]
    return {"Prefect-Csrf-Client": "test", "Prefect-Csrf-Token": token}


def _messages(client: httpx.Client, run: dict[str, Any]) -> list[str]:
    return [entry["message"] for entry in log(client, run["id"])]
