"""A stack without a server of its own: bootstrap and worker use that of another stack."""

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
# What `eval "$(scripts/stack env)"` and Prefect Cloud leave in a shell: none of it counts.
LEFT_OVER = {"PREFECT_API_URL": "http://127.0.0.1:1/api", "PREFECT_API_KEY": "of-the-shell"}


@contextmanager
def serving(made: Stack) -> Iterator[Stack]:
    """A whole stack whose worker stands still, so that runs go to the worker of another."""
    with stacks.stack(made):
        made.up()
        services = {each["name"]: each["detail"] for each in made.status()["services"]}
        worker = psutil.Process(int(services["worker"].split(",")[0].removeprefix("pid ")))
        standing = [worker, *worker.children(recursive=True)]
        for process in standing:
            process.suspend()
        try:
            yield made
        finally:
            for process in standing:
                process.resume()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with a login."""
    made = make(tmp_path_factory, "server")
    (made.root / ".env").write_text(f"STACK_PASSWORD={single_quoted(NASTY)}\n")
    with serving(made):
        yield made


@pytest.fixture
def using(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that is to use another's server, not started."""
    made = make(tmp_path_factory, "using")
    made.variables |= LEFT_OVER
    with stacks.stack(made):
        yield made
    assert processes(made) == []


def write_env(using: Stack, server: Stack, *lines: str) -> None:
    """Name the server of another stack in `.env`."""
    text = [f"PREFECT_API_URL={server.url}/api", *lines]
    (using.root / ".env").write_text("".join(f"{line}\n" for line in text))


def login(password: str) -> str:
    """The line with the login."""
    return f"PREFECT_API_AUTH_STRING={single_quoted(f'admin:{password}')}"


def completes(client: httpx.Client) -> dict[str, Any]:
    """Run `hello` to its end, which has to be Completed; the run. Two stacks share this machine."""
    found = finished(client, start_run(client, "hello/hello"), RUN_SECONDS)
    assert found["state_type"] == "COMPLETED", found["state"]
    return found


def runs_here(using: Stack, server: Stack) -> None:
    """A run of a deployment that is on the server goes to the worker of `using`."""
    with server.client() as client:
        token = client.get("/csrf-token", params={"client": "tests"})
        if token.is_success:  # a server without a login asks for one
            csrf = {"Prefect-Csrf-Token": token.json()["token"], "Prefect-Csrf-Client": "tests"}
            client.headers.update(csrf)
        found = completes(client)
        log = (using.root / ".stack" / using.name / "logs/worker.log").read_text()
        assert found["id"] in log
        workers = client.post("/work_pools/default/workers/filter", json={}).json()
    assert f"{using.name}-worker" in {each["name"] for each in workers}


def test_flows_run_here_and_only_the_worker_is_here(using: Stack, server: Stack) -> None:
    write_env(using, server, login(NASTY))
    said = using.up()
    assert f"API         {server.url}/api (the remote server of .env)" in said
    assert f"UI          {server.url}\n" in said
    runs_here(using, server)

    status = using.status()
    assert (status["running"], status["url"]) == (True, server.url)
    assert [each["name"] for each in status["services"]] == ["init", "bootstrap", "worker"]
    running = [" ".join(each["cmdline"]) for each in facts(using, "cmdline")]
    assert any("prefect worker" in each for each in running)
    assert [each for each in running if "postgres" in each or "server.app" in each] == []
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
        found = deployment(client, "hello/byhand")
        client.delete(f"/deployments/{found['id']}").raise_for_status()
    assert not using.status()["running"]


def test_a_server_without_a_login_takes_any_key(
    using: Stack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = make(tmp_path_factory, "open")
    made.variables["STACK_AUTH"] = "off"
    with serving(made):
        write_env(using, made, "PREFECT_API_KEY=pnu_of_nobody")
        said = using.up()
        runs_here(using, made)
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


def test_the_worker_goes_on_when_the_server_was_away(using: Stack, server: Stack) -> None:
    write_env(using, server, login(NASTY))
    using.up()
    services = {each["name"]: each["detail"] for each in server.status()["services"]}
    gone = psutil.Process(int(services["server"].split(",")[0].removeprefix("pid ")))
    gone.suspend()  # it would be back before anybody has looked, if it were killed at once
    wait_for("problem of the worker", lambda: not using.status()["running"])
    gone.kill()
    wait_for("worker that is heard of again", lambda: using.status()["running"], 240)
    with server.client() as client:
        assert get(client, "/work_pools/default")["name"] == "default"
    runs_here(using, server)


def test_nothing_of_it_is_left_when_it_goes_down(using: Stack, server: Stack) -> None:
    write_env(using, server, login(NASTY))
    using.up()
    assert "its data removed" in using.down("--volumes")
    assert processes(using) == []
    assert not (using.root / ".stack" / using.name).exists()
    assert os.listdir(using.root / ".stack") == []  # noqa: PTH208 - names are enough
