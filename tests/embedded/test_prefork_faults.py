"""The worker type `prefork` under faults: its runs end as they would without them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import sysconfig
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from benchmarks.relay import relaying
from tests.embedded.runs import entry, gone, process, said, set_state, start
from tests.embedded.two_workers import PREFORK, declared, log_of_worker, running, worker
from tests.stack import Stack, finished, get, log, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

FLOWS = Path(__file__).parent / "behaviours/faults.py"
DEAF = "of-deaf"  # a pool whose worker hears no events
# A deployment whose runs start in a temporary folder.
ELSEWHERE = """
  - name: elsewhere
    entrypoint: flows/behaviours.py:waits
    work_pool: {{name: of-prefork, job_variables: {{working_dir: null}}}}
    pull:
      - prefect.deployments.steps.set_working_directory: {{directory: "{root}"}}
"""
# A deployment whose pull step looks as if it installed a package.
INSTALLS = """
  - name: installs
    entrypoint: flows/behaviours.py:says
    work_pool: {{name: of-prefork}}
    pull:
      - prefect.deployments.steps.run_shell_script: {{script: "touch {site}"}}
"""
# Modules that no template may keep loaded; they are importable through PYTHONPATH.
UNSAFE = {
    "starts_a_thread": "import threading\nthreading.Thread(target=threading.Event().wait,"
    " daemon=True).start()\n",
    "opens_a_connection": "import socket\nends = socket.socketpair()\n",
    "changes_the_environment": "import os\nos.environ['LEFT'] = 'by a package'\n",
    "replaces_sleep": "import time\ntime.sleep = lambda seconds: None\n",
    "is_a_users": "VALUE = 1\n",
}

# A monitoring agent that an environment loads into each of its interpreters.
MONITOR = """
import os, sys, threading
template = any("prefect_prefork.forked.template" in each for each in sys.orig_argv)
if template and "MONITORED" in os.environ:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with a worker of type `prefork`, which has its own home and temporary folder."""
    types = dict.fromkeys((PREFORK, DEAF), "prefork")
    stack = declared(tmp_path_factory, "faults", FLOWS.read_text(), ["says", "waits"], types)
    site = sysconfig.get_path("purelib")
    more = ELSEWHERE.format(root=stack.root) + INSTALLS.format(site=site)
    stack.edit("prefect.yaml", lambda text: text + more)
    for name, source in UNSAFE.items():
        (stack.root / f"{name}.py").write_text(source)
    with running(stack, PREFORK):
        yield stack


def templates(stack: Stack) -> list[psutil.Process]:
    """Return the worker's templates: unlike runs, they do not lead a session of their own."""
    [worker_process] = [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if {"worker", "start", PREFORK} <= set(process.info["cmdline"] or ())
        and process.info["cwd"] == str(stack.root)
    ]
    return [child for child in worker_process.children() if _is_template(child)]


def _is_template(process: psutil.Process) -> bool:
    try:
        boots = "prefect_prefork.forked.template" in " ".join(process.cmdline())
        return boots and os.getsid(process.pid) != process.pid
    except (psutil.NoSuchProcess, ProcessLookupError):  # or a zombie
        return False


def says(
    client: httpx.Client,
    name: str = "sys",
    *,
    import_it: bool = False,
    where: str = PREFORK,
    **job_variables: Any,
) -> list[str]:
    """Run `says` to its end; return the messages of its log."""
    parameters = {"name": name, "import_it": import_it}
    run_id = start(client, f"says/{where}", parameters, **job_variables)
    run = finished(client, run_id)
    assert run["state_type"] == "COMPLETED", run["state"]
    gone(client, run_id)
    return [entry["message"] for entry in log(client, run_id)]


def waiting(client: httpx.Client, name: str, then: str = "end", where: str = PREFORK) -> str:
    """Start a run and wait until it waits for the file `name`; return its id."""
    run_id = start(client, f"waits/{where}", {"name": name, "then": then})
    said(client, run_id, "waiting")
    return run_id


def let_go(stack: Stack, client: httpx.Client, run_id: str, name: str) -> dict[str, Any]:
    """Create the file `name` that a run waits for; return the run when it has ended."""
    (stack.root / name).touch()
    return finished(client, run_id)


def settled(stack: Stack, client: httpx.Client) -> list[psutil.Process]:
    """Wait until runs cause no new templates, having taught them every import; return them."""

    def probe() -> list[psutil.Process] | None:
        before = templates(stack)
        for _ in range(2):  # the imports of the first run are learnt during the second
            says(client)
            if templates(stack) != before:
                return None
        return before

    stable = wait_for("templates that stay", probe)
    assert isinstance(stable, list)
    return stable


REPLACED = "The template failed and is replaced"


def test_a_template_that_hangs_is_replaced_and_no_run_is_lost(stack: Stack) -> None:
    with stack.client() as client:
        goes_on = waiting(client, "hang")
        old = settled(stack, client)
        before = log_of_worker(stack, PREFORK).count(REPLACED)
        for template in old:
            template.suspend()
        says(client)
        assert log_of_worker(stack, PREFORK).count(REPLACED) == before + 1
        wait_for("end of a template", lambda: not all(template.is_running() for template in old))
        for template in old:
            with contextlib.suppress(psutil.NoSuchProcess):
                template.resume()  # templates that were asked for no run have not been replaced
        assert process(client, goes_on).is_running()
        assert let_go(stack, client, goes_on, "hang")["state_type"] == "COMPLETED"


def test_a_run_that_hangs_is_cancelled_and_its_template_stays(stack: Stack) -> None:
    with stack.client() as client:
        run_id = waiting(client, "never")
        before = settled(stack, client)
        process(client, run_id).suspend()
        set_state(client, run_id, "CANCELLING")
        says(client)
        assert finished(client, run_id)["state_type"] == "CANCELLED"
        gone(client, run_id)
        assert templates(stack) == before


def test_a_worker_that_hears_no_events_finds_its_runs_by_polling(stack: Stack) -> None:
    warning = "polling finds new runs"
    refused = "WS /api/events/out"
    with relaying(stack.port, websockets=False) as api, stack.client() as client:
        with worker(stack, DEAF, DEAF, PREFECT_API_URL=f"{api.address}/api"):
            wait_for("warning", lambda: warning in log_of_worker(stack, DEAF))
            run_id = start(client, f"says/{DEAF}")
            assert finished(client, run_id)["state_type"] == "COMPLETED"
            tries = api.asked[refused]
            wait_for("three more tries", lambda: api.asked[refused] >= tries + 3)
        assert log_of_worker(stack, DEAF).count(warning) == 1


def test_a_scheduled_run_does_not_begin_before_its_time(stack: Stack) -> None:
    with stack.client() as client:
        for seconds in (3.0, 3.3, 3.6):
            due = datetime.now(UTC) + timedelta(seconds=seconds)
            run_id = start(client, f"says/{PREFORK}", at=due.isoformat())
            run = finished(client, run_id)
            assert run["state_type"] == "COMPLETED", run["state"]
            assert datetime.fromisoformat(run["start_time"]) >= due
            first = entry(client, run_id, "command line")
            assert datetime.fromisoformat(first["timestamp"]) >= due


def test_a_scheduled_run_that_is_cancelled_before_its_time_never_begins(stack: Stack) -> None:
    with stack.client() as client:
        due = (datetime.now(UTC) + timedelta(seconds=4)).isoformat()
        cancelled = start(client, f"says/{PREFORK}", at=due)
        later = start(client, f"says/{PREFORK}", at=due)
        set_state(client, cancelled, "CANCELLED")
        assert finished(client, later)["state_type"] == "COMPLETED"
        run = get(client, f"/flow_runs/{cancelled}")
        assert (run["state_type"], run["infrastructure_pid"]) == ("CANCELLED", None)
        assert not [each for each in log(client, cancelled) if "command line" in each["message"]]


def test_why_a_flow_cannot_be_loaded_is_in_its_state_and_once_in_its_log(stack: Stack) -> None:
    why = "SyntaxError in flows/behaviours.py, line 1: invalid syntax"
    (stack.root / "broken/flows").mkdir(parents=True)
    (stack.root / "broken/flows/behaviours.py").write_text("def says(:\n")
    with stack.client() as client:
        run_id = start(client, f"says/{PREFORK}", working_dir=f"{stack.root}/broken")
        run = finished(client, run_id)
        assert (run["state_type"], run["state"]["message"]) == ("CRASHED", why)
        said(client, run_id, why)
        errors = [each["message"] for each in log(client, run_id) if "Error" in each["message"]]
    assert [each.splitlines()[0] for each in errors] == [why]


def test_a_package_to_preload_is_there_before_the_flow_is(stack: Stack) -> None:
    with stack.client() as client:
        assert "loaded wave" in says(client, "wave", preload=["wave"])
        assert "not loaded wave" in says(client, "wave")


def test_a_package_that_runs_import_is_there_for_later_ones(stack: Stack) -> None:
    with stack.client() as client:
        assert "not loaded mailbox" in says(client, "mailbox", import_it=True)
        wait_for("package", lambda: "loaded mailbox" in says(client, "mailbox"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("starts_a_thread", "starts a thread when it is imported"),
        ("opens_a_connection", "opens a connection when it is imported"),
        ("changes_the_environment", "changes the environment when it is imported"),
        ("replaces_sleep", "changes what others use when it is imported"),
        ("is_a_users", "imports is_a_users, which is not an installed package"),
    ],
)
def test_what_no_fork_survives_is_left_to_each_run(stack: Stack, name: str, reason: str) -> None:
    preload = ["wave", name]
    with stack.client() as client:
        assert f"not loaded {name}" in says(client, name, import_it=True, preload=preload)
        assert "loaded wave" in says(client, "wave", preload=preload)
    said_so = f"The module {name} is not kept warm, each run imports it: {reason}"
    assert log_of_worker(stack, PREFORK).count(said_so) == 1


@pytest.mark.slow
def test_a_pull_step_that_installs_a_package_is_followed_by_a_new_interpreter(
    stack: Stack,
) -> None:
    with stack.client() as client:
        before = settled(stack, client)
        lines = says(client, where="installs")
        [command] = [each for each in lines if each.startswith("command line")]
        assert "'prefect.engine'" in command
        assert "Running 1 deployment pull step(s)" in lines
        says(client)
        assert set(templates(stack)) - set(before)


@pytest.mark.slow
def test_more_environments_than_there_are_templates_are_served_in_turn(stack: Stack) -> None:
    with stack.client() as client:
        for _ in range(2):
            for number in range(6):
                assert "loaded sys" in says(client, env={"KIND": str(number)})
        assert len(templates(stack)) <= 4


def test_a_package_that_is_not_there_keeps_no_run_from_starting(stack: Stack) -> None:
    with stack.client() as client:
        assert "loaded sys" in says(client, preload=["no_such_package"])
    line = "The module no_such_package is not kept warm, each run imports it: ModuleNotFoundError"
    assert line in log_of_worker(stack, PREFORK)


@pytest.mark.parametrize(
    ("job_variables", "reason"),
    [
        ({"command": "python -m prefect.engine"}, "its job has a command"),
        ({"env": {"PYTHONHASHSEED": "7"}}, "its environment sets PYTHONHASHSEED"),
    ],
)
def test_what_a_fork_cannot_give_is_given_by_a_subprocess(
    stack: Stack, job_variables: dict[str, Any], reason: str
) -> None:
    with stack.client() as client:
        runs = [says(client, **job_variables) for _ in range(2)]
        [of_fork] = [each for each in says(client) if each.startswith("command line")]
    for lines in runs:
        [of_run] = [each for each in lines if each.startswith("command line")]
        assert "'prefect.engine'" in of_run
        assert "prefect_prefork.forked.template" in of_fork
    log_text = log_of_worker(stack, PREFORK)
    assert log_text.count(f"Starting a run as a subprocess: {reason}") == 1
    if seed := job_variables.get("env"):
        code = "print('hash', hash('a'))"
        expected = subprocess.check_output([sys.executable, "-c", code], env=seed, text=True)
        assert all(expected.strip() in lines for lines in runs)


@pytest.mark.slow
def test_where_no_template_can_be_forked_runs_are_started_as_subprocesses(stack: Stack) -> None:
    # In its own folder, first on the path: Debian's Python already has a `sitecustomize`.
    monitor = stack.root / "monitor"
    monitor.mkdir()
    (monitor / "sitecustomize.py").write_text(MONITOR)
    path = f"{monitor}:{stack.root}"
    name = "of-monitored"
    reason = "Starting a run as a subprocess: it has 2 threads, which no fork survives."
    monitored = worker(stack, DEAF, name, MONITORED="1", PYTHONPATH=path)
    with monitored, stack.client() as client:
        for _ in range(2):
            lines = says(client, where=DEAF)
            [command] = [each for each in lines if each.startswith("command line")]
            assert "'prefect.engine'" in command
    assert log_of_worker(stack, name).count(reason) == 1


@pytest.mark.slow
def test_faults_leave_nothing_in_the_temporary_folder(stack: Stack) -> None:
    folder = stack.root / f"tmp-{PREFORK}"
    with stack.client() as client:
        settled(stack, client)
        before = set(folder.rglob("*"))
        for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM):
            run_id = waiting(client, number.name, number.name, "elsewhere")
            assert set(folder.rglob("*")) - before
            assert let_go(stack, client, run_id, number.name)["state_type"] == "CRASHED"
            gone(client, run_id)
        for template in templates(stack):
            template.kill()
        says(client)
    wait_for("the folder as it was", lambda: set(folder.rglob("*")) <= before)
