"""A stack without its own server: bootstrap and worker use the server of another stack."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests import stack as stacks
from tests.embedded.processes import facts, processes
from tests.stack import (
    NASTY,
    Stack,
    deployment,
    finished,
    get,
    make,
    single_quoted,
    start_run,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

RUN_SECONDS = 300.0
# Variables that `eval "$(scripts/stack env)"` or Prefect Cloud leave in a shell; `up` ignores them.
LEFT_OVER = {"PREFECT_API_URL": "http://127.0.0.1:1/api", "PREFECT_API_KEY": "of-the-shell"}


@contextmanager
def serving(stack: Stack) -> Iterator[Stack]:
    """Start a stack and suspend its worker, so that runs go to the worker of another stack."""
    with stacks.stack(stack):
        stack.up()
        services = {shown["name"]: shown["detail"] for shown in stack.status()["services"]}
        worker = psutil.Process(int(services["worker"].split(",")[0].removeprefix("pid ")))
        suspended = [worker, *worker.children(recursive=True)]
        for process in suspended:
            process.suspend()
        try:
            yield stack
        finally:
            for process in suspended:
                process.resume()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with a login, which is the server."""
    stack = make(tmp_path_factory, "server")
    (stack.root / ".env").write_text(f"STACK_PASSWORD={single_quoted(NASTY)}\n")
    with serving(stack):
        yield stack


@pytest.fixture
def using(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that is to use the server of another; it is not started."""
    stack = make(tmp_path_factory, "using")
    stack.variables |= LEFT_OVER
    with stacks.stack(stack):
        yield stack
    assert processes(stack) == []


def write_env(using: Stack, server: Stack, *lines: str) -> None:
    """Write an `.env` that names the server of another stack."""
    text = [f"PREFECT_API_URL={server.url}/api", *lines]
    (using.root / ".env").write_text("".join(f"{line}\n" for line in text))


def login(password: str) -> str:
    """Return the line of `.env` with the login."""
    return f"PREFECT_API_AUTH_STRING={single_quoted(f'admin:{password}')}"


def completes(client: httpx.Client) -> dict[str, Any]:
    """Run `hello` until it is Completed; return the run. Two stacks make it slow."""
    run = finished(client, start_run(client, "hello/hello"), RUN_SECONDS)
    assert run["state_type"] == "COMPLETED", run["state"]
    return run


def runs_here(using: Stack, server: Stack) -> None:
    """Check that a run of a deployment on `server` goes to the worker of `using`."""
    with server.client() as client:
        token = client.get("/csrf-token", params={"client": "tests"})
        if token.is_success:  # a server without a login asks for a CSRF token
            csrf = {"Prefect-Csrf-Token": token.json()["token"], "Prefect-Csrf-Client": "tests"}
            client.headers.update(csrf)
        run = completes(client)
        log = (using.root / ".stack" / using.name / "logs/worker.log").read_text()
        assert run["id"] in log
        workers = client.post("/work_pools/default/workers/filter", json={}).json()
    assert f"{using.name}-worker" in {worker["name"] for worker in workers}


def test_flows_run_here_and_only_the_worker_is_here(using: Stack, server: Stack) -> None:
    write_env(using, server, login(NASTY))
    said = using.up()
    assert f"API         {server.url}/api (the remote server of .env)" in said
    assert f"UI          {server.url}\n" in said
    runs_here(using, server)

    status = using.status()
    assert (status["running"], status["url"]) == (True, server.url)
    assert [each["name"] for each in status["services"]] == ["init", "bootstrap", "worker"]
    commands = [" ".join(process["cmdline"]) for process in facts(using, "cmdline")]
    assert any("prefect worker" in command for command in commands)
    assert [c for c in commands if "postgres" in c or "server.app" in c] == []
    base = using.root / ".stack" / using.name
    assert not (base / "postgres").exists()
    assert [path for path in (base / "secrets").rglob("*") if path.is_file()] == []
    assert NASTY not in said + using.command("logs")

    assert "was already running" in using.up()
    hello = 'eval "$(scripts/stack env)" && prefect deployment ls'
    assert "hello/hello" in using.run("sh", "-c", hello).stdout, using.said[-1]


def test_bootstrap_by_hand_goes_there_whether_a_worker_runs_or_not(
    using: Stack, server: Stack
) -> None:
    write_env(using, server, login(NASTY))
    using.edit("prefect.yaml", lambda text: text.replace("- name: hello\n", "- name: byhand\n"))
    result = using.run("scripts/bootstrap.py")
    assert result.returncode == 0, using.said[-1]
    with server.client() as client:
        by_hand = deployment(client, "hello/byhand")
        client.delete(f"/deployments/{by_hand['id']}").raise_for_status()
    assert not using.status()["running"]


@pytest.mark.slow
def test_a_server_without_a_login_takes_any_key(
    using: Stack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    open_server = make(tmp_path_factory, "open")
    open_server.variables["STACK_AUTH"] = "off"
    with serving(open_server):
        write_env(using, open_server, "PREFECT_API_KEY=pnu_of_nobody")
        said = using.up()
        runs_here(using, open_server)
        assert "pnu_of_nobody" not in said + using.command("logs")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (login(NASTY + "x"), "a login, answered with 401"),
        ("PREFECT_API_KEY=pnu_hidden", "a key, answered with 401"),
        ("", "neither key nor login, answered with 401"),
    ],
)
def test_a_wrong_login_is_one_message(using: Stack, server: Stack, line: str, found: str) -> None:
    write_env(using, server, line)
    result = using.run("scripts/stack", "up", "--embedded")
    assert result.returncode == 2, using.said[-1]
    assert f"the server {server.url}/api does not let the stack in" in result.stderr
    assert f"found:    {found}" in result.stderr
    assert result.stderr.count("error: ") == 1
    assert NASTY not in result.stderr
    assert "pnu_hidden" not in result.stderr
    assert not (using.root / ".stack").exists()


def test_a_server_that_is_not_there_is_one_message(using: Stack) -> None:
    port = stacks.free_port()
    (using.root / ".env").write_text(f"PREFECT_API_URL=http://127.0.0.1:{port}/api\n")
    result = using.run("scripts/stack", "up", "--embedded")
    assert result.returncode == 1, using.said[-1]
    assert f"the server http://127.0.0.1:{port}/api does not answer" in result.stderr
    assert result.stderr.count("error: ") == 1
    assert not (using.root / ".stack").exists()


def test_a_shell_that_knows_a_stack_does_not_make_the_next_up_a_remote_one(server: Stack) -> None:
    script = 'eval "$(scripts/stack env)" && scripts/stack status --json'
    result = server.run("sh", "-c", script)
    assert '"name": "postgres"' in result.stdout, server.said[-1]
    result = server.run("scripts/stack", "env", env=LEFT_OVER)
    assert f"PREFECT_API_URL={server.url}/api" in result.stdout
    assert "PREFECT_API_KEY" not in result.stdout


@pytest.mark.slow
def test_the_worker_goes_on_when_the_server_was_away(using: Stack, server: Stack) -> None:
    write_env(using, server, login(NASTY))
    using.up()
    services = {shown["name"]: shown["detail"] for shown in server.status()["services"]}
    server_process = psutil.Process(int(services["server"].split(",")[0].removeprefix("pid ")))
    server_process.suspend()  # killed at once, it would be back before the worker notices
    wait_for("problem of the worker", lambda: not using.status()["running"])
    server_process.kill()
    wait_for("worker that is heard of again", lambda: using.status()["running"], 240)
    with server.client() as client:
        assert get(client, "/work_pools/default")["name"] == "default"
    runs_here(using, server)


@pytest.mark.slow
def test_nothing_of_it_is_left_when_it_goes_down(using: Stack, server: Stack) -> None:
    write_env(using, server, login(NASTY))
    using.up()
    assert "its data removed" in using.down("--volumes")
    assert processes(using) == []
    assert not (using.root / ".stack" / using.name).exists()
    assert os.listdir(using.root / ".stack") == []  # noqa: PTH208 - names are enough
