"""A stack in Docker without its own server: bootstrap and worker use one on this machine."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from server.api import remote
from server.place import DOCKER
from tests import stack as stacks
from tests.docker.conftest import make
from tests.embedded.test_remote import LEFT_OVER, completes, login, serving
from tests.stack import NASTY, Stack, single_quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

LINE = "LOCAL_SERVER=0\n"


@pytest.fixture(scope="module")
def gateway(base_images: None) -> str:
    """The address under which containers reach this machine."""
    argv = ["docker", "network", "inspect", "bridge"]
    networks = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return str(json.loads(networks)[0]["IPAM"]["Config"][0]["Gateway"])


@pytest.fixture(scope="module")
def server(gateway: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack without Docker that listens where containers reach it."""
    stack = stacks.make(tmp_path_factory, "server")
    stack.variables["STACK_BIND"] = gateway
    (stack.root / ".env").write_text(f"STACK_PASSWORD={single_quoted(NASTY)}\n")
    with serving(stack):
        yield stack


@pytest.fixture(scope="module")
def clone(base_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack in Docker that is to use the server of another; tests start and stop it."""
    stack = make(tmp_path_factory, "using")
    stack.variables |= LEFT_OVER
    with stacks.stack(stack):
        yield stack


@pytest.fixture
def using(clone: Stack) -> Stack:
    """The same stack, stopped."""
    compose(clone, "down")
    return clone


def write_env(using: Stack, url: str, *lines: str) -> None:
    """Write an `.env` that names a server, and further lines."""
    (using.root / ".env").write_text("\n".join([f"PREFECT_API_URL={url}", *lines]) + "\n")


def compose(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `docker compose` in the clone, as users do."""
    return stack.run("docker", "compose", *arguments)


def services(stack: Stack, *arguments: str) -> set[str]:
    """Return the services with a running container, or with `--all` with any."""
    return set(compose(stack, "ps", "--services", *arguments).stdout.split())


def client(server: Stack, gateway: str) -> httpx.Client:
    """Return an API client of the address that the server listens on."""
    client = server.client()
    client.base_url = f"http://{gateway}:{server.port}/api"
    return client


def test_flows_run_here_and_only_the_worker_is_here(
    using: Stack, server: Stack, gateway: str
) -> None:
    url = f"http://{gateway}:{server.port}/api"
    write_env(using, url, login(NASTY))
    said = using.up()
    assert f"API         {url} (the remote server of .env)" in said
    assert services(using, "--all") == {"init", "bootstrap", "worker"}
    assert services(using) == {"worker"}
    with client(server, gateway) as asking:
        run = completes(asking)
    logs = using.command("logs")
    assert run["id"] in logs
    assert NASTY not in said + logs
    status = using.status()
    assert (status["running"], status["url"]) == (True, url.removesuffix("/api"))

    # The worker gets the login in a file, since Compose would prefer a variable of the shell.
    container = compose(using, "ps", "--quiet", "worker").stdout.strip()
    inspected = subprocess.run(
        ["docker", "inspect", container], check=True, capture_output=True, text=True
    ).stdout
    assert json.dumps(NASTY)[1:-1] not in inspected
    files = compose(using, "exec", "-T", "worker", "find", str(DOCKER.secrets), "-type", "f")
    assert str(DOCKER.secrets / remote.FILE) in files.stdout.split()

    by_hand = using.run("scripts/bootstrap.py")
    assert "nothing changed" in by_hand.stdout, using.said[-1]


@pytest.mark.slow
def test_plain_compose_asks_for_one_line_and_then_does_the_same(
    using: Stack, server: Stack, gateway: str
) -> None:
    write_env(using, f"http://{gateway}:{server.port}/api", login(NASTY))
    result = compose(using, "up", "--wait")
    assert result.returncode != 0
    assert services(using) == set()
    logs = compose(using, "logs", "--no-log-prefix", "init").stdout
    assert "do:       add the line LOCAL_SERVER=0 to .env" in logs

    with (using.root / ".env").open("a") as file:
        file.write(LINE)
    result = compose(using, "up", "--wait")
    assert result.returncode == 0, using.said[-1]
    assert services(using, "--all") == {"init", "bootstrap", "worker"}
    with client(server, gateway) as asking:
        completes(asking)


@pytest.mark.slow
def test_a_wrong_login_ends_it_with_nothing_left_running(
    using: Stack, server: Stack, gateway: str
) -> None:
    url = f"http://{gateway}:{server.port}/api"
    write_env(using, url, "PREFECT_API_KEY=pnu_hidden")
    result = using.run("scripts/stack", "up", "--docker")
    assert result.returncode == 2, using.said[-1]
    assert f"error: the server {url} does not let the stack in" in result.stderr
    assert "take PREFECT_API_KEY out" in result.stderr
    assert "pnu_hidden" not in result.stderr + using.command("logs")
    assert services(using) == set()


@pytest.mark.slow  # `up` waits minutes for the server and the worker to become healthy
def test_a_server_that_is_not_there_ends_it_with_nothing_left_running(
    using: Stack, gateway: str
) -> None:
    write_env(using, f"http://{gateway}:{stacks.free_port()}/api")
    result = using.run("scripts/stack", "up", "--docker")
    assert result.returncode == 1, using.said[-1]
    assert "does not answer" in result.stderr
    assert result.stderr.count("error: ") == 1
    assert services(using) == set()


def test_an_address_that_is_the_container_itself_is_refused(using: Stack) -> None:
    write_env(using, "http://127.0.0.1:4200/api")
    result = using.run("scripts/stack", "up", "--docker")
    assert result.returncode == 2, using.said[-1]
    assert "PREFECT_API_URL in .env names this very container" in result.stderr
    assert services(using) == set()


@pytest.mark.slow
def test_back_home_the_key_is_gone_from_where_it_was_kept(
    using: Stack, server: Stack, gateway: str
) -> None:
    write_env(using, f"http://{gateway}:{server.port}/api", login(NASTY), LINE.strip())
    assert compose(using, "up", "--wait").returncode == 0, using.said[-1]
    (using.root / ".env").unlink()
    assert compose(using, "up", "--wait").returncode == 0, using.said[-1]
    assert services(using) == {"postgres", "server", "worker"}
    files = compose(using, "exec", "-T", "worker", "find", str(DOCKER.secrets), "-type", "f")
    assert str(DOCKER.secrets / remote.FILE) not in files.stdout.split()
    with using.client() as asking:
        completes(asking)
