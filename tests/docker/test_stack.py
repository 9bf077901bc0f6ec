"""The stack in Docker: the shipped compose.yaml with images from the shipped Dockerfiles."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from server import secrets
from server.place import DOCKER
from tests import stack as stacks
from tests.claims import RestartedStack, RunningStack, heals
from tests.stack import NASTY, Stack, complete, get, wait_for

if TYPE_CHECKING:
    from pathlib import Path

LONG_RUNNING = ["postgres", "server", "worker"]
MEGABYTE = 1_000_000
MAX_IMAGE = 400 * MEGABYTE


class TestRunning(RunningStack):
    """What holds for both backends, and what is special in Docker."""

    @pytest.mark.slow  # the server's part: every run of the tests tries it on an embedded stack
    def test_a_schedule_that_was_paused_stays_paused(self, stack: Stack) -> None:
        super().test_a_schedule_that_was_paused_stays_paused(stack)

    @pytest.mark.parametrize("service", LONG_RUNNING)
    def test_a_container_is_not_root_and_can_do_nothing(self, stack: Stack, service: str) -> None:
        status = execute(stack, service, "cat", "/proc/self/status")
        fields = dict(line.split(":", 1) for line in status.splitlines())
        assert fields["Uid"].split() == ["999"] * 4
        assert {fields[name].strip() for name in ("CapEff", "CapBnd", "CapPrm")} == {"0" * 16}
        assert fields["NoNewPrivs"].strip() == "1"
        mounts = execute(stack, service, "cat", "/proc/mounts").splitlines()
        root = next(line.split() for line in mounts if line.split()[1] == "/")
        assert root[3].split(",")[0] == "ro"

    def test_the_port_is_published_on_loopback_only(self, stack: Stack) -> None:
        ports = {
            service: inspect(stack, service)["NetworkSettings"]["Ports"] for service in LONG_RUNNING
        }
        published = {name: [b for b in by_port.values() if b] for name, by_port in ports.items()}
        assert published == {
            "postgres": [],
            "server": [[{"HostIp": "127.0.0.1", "HostPort": str(stack.port)}]],
            "worker": [],
        }

    def test_the_worker_has_no_way_to_the_database(self, stack: Stack) -> None:
        address = next(iter(inspect(stack, "postgres")["NetworkSettings"]["Networks"].values()))
        script = (
            "import socket, sys\n"
            "for host in ('postgres', sys.argv[1]):\n"
            "    try: socket.create_connection((host, 5432), 3)\n"
            "    except OSError: print('no way to', host)\n"
        )
        said = execute(stack, "worker", "python", "-c", script, address["IPAddress"])
        assert said.count("no way to") == 2

    @pytest.mark.parametrize("service", ["worker"])
    def test_the_worker_holds_no_secret_but_the_login(self, stack: Stack, service: str) -> None:
        files = execute(stack, service, "find", str(DOCKER.secrets), "-type", "f")
        assert files.split() == [str(DOCKER.secrets / secrets.API_PASSWORD)]

    @pytest.mark.parametrize("service", LONG_RUNNING)
    def test_a_generated_secret_is_in_no_configuration(self, stack: Stack, service: str) -> None:
        key = execute(stack, "server", "cat", str(DOCKER.secrets / secrets.ENCRYPTION_KEY))
        assert len(key) == 44
        assert key not in json.dumps(inspect(stack, service))

    def test_a_secret_of_env_is_in_no_configuration(self, stack: Stack) -> None:
        containers = compose(stack, "ps", "--all", "--quiet").stdout.split()
        assert len(containers) == 6
        inspected = docker("inspect", *containers)
        hidden = [NASTY, "hooks.slack.com", base64.b64encode(f"admin:{NASTY}".encode()).decode()]
        for secret in hidden:
            assert json.dumps(secret)[1:-1] not in inspected
        assert f'"STACK_PORT={stack.port}"' in inspected  # where a value that is no secret is shown

    def test_what_has_read_env_is_root_no_longer(self, stack: Stack) -> None:
        script = "from server import init; from server.settings import env_file as e; "
        script += "e.take(e.PROJECT, init.DOCKER.scratch); "
        script += "print(open('/proc/self/status').read())"
        argv = ["run", "--rm", "--no-deps", "--entrypoint", "python", "init", "-c", script]
        result = compose(stack, *argv)
        assert result.returncode == 0, result.stderr
        fields = dict(line.split(":", 1) for line in result.stdout.splitlines() if ":" in line)
        assert fields["Uid"].split() == fields["Gid"].split() == ["999"] * 4
        assert fields["Groups"].split() == []
        assert {fields[name].strip() for name in ("CapEff", "CapPrm", "CapInh")} == {"0" * 16}

    def test_secrets_are_for_their_owner_only(self, stack: Stack) -> None:
        files = execute(
            stack, "server", "find", str(DOCKER.secrets), "-type", "f", "-printf", "%m %u\n"
        )
        assert sorted(files.splitlines()) == ["400 stack"] * 3

    @pytest.mark.parametrize("name", ["SERVER_IMAGE", "WORKER_IMAGE"])
    def test_an_image_is_small_and_holds_no_build_tool(self, stack: Stack, name: str) -> None:
        image = stack.variables[name]
        inspected = json.loads(docker("image", "inspect", image))[0]
        assert inspected["Size"] < MAX_IMAGE
        script = "for tool in gcc cc make git uv; do command -v $tool && exit 1; done; exit 0"
        docker("run", "--rm", "--entrypoint", "sh", image, "-c", script)

    def test_both_images_share_their_large_layers(self, stack: Stack) -> None:
        server, worker = (
            json.loads(docker("image", "inspect", stack.variables[name]))[0]["RootFS"]["Layers"]
            for name in ("SERVER_IMAGE", "WORKER_IMAGE")
        )
        shared = len([a for a, b in zip(server, worker, strict=False) if a == b])
        history = docker(
            "history", "--no-trunc", "--format", "{{.CreatedBy}}", stack.variables["SERVER_IMAGE"]
        ).splitlines()[::-1]
        with_layer = [
            line
            for line in history
            if not line.startswith(("ENV", "CMD", "ENTRY", "USER", "LABEL"))
        ]
        environment = next(i for i, line in enumerate(with_layer) if "/opt/venv /opt/venv" in line)
        assert shared > environment, history

    def test_compose_up_again_exits_with_0(self, stack: Stack) -> None:
        result = compose(stack, "up", "--wait")
        assert result.returncode == 0, result.stderr


class TestRestarted(RestartedStack):
    """What holds for both backends after a restart, and after kills of single processes."""

    @pytest.mark.parametrize("service", LONG_RUNNING)
    def test_a_service_that_was_killed_comes_back(self, stack: Stack, service: str) -> None:
        before = inspect(stack, service)
        # Killed from the host: after `docker kill`, a stop by hand, Docker restarts nothing.
        os.kill(before["State"]["Pid"], signal.SIGKILL)
        wait_for("another process", lambda: running_pid(stack, service) != before["State"]["Pid"])
        heals(stack, service)
        assert inspect(stack, service)["RestartCount"] == before["RestartCount"] + 1

    @pytest.mark.slow  # the next claim is the same of plain Compose
    def test_down_then_up_keeps_runs_blocks_and_deployments(self, stack: Stack) -> None:
        super().test_down_then_up_keeps_runs_blocks_and_deployments(stack)

    def test_plain_compose_brings_it_up_and_keeps_the_data(self, stack: Stack) -> None:
        with stack.client() as client:
            run = complete(client, "hello/hello")["id"]
        assert compose(stack, "down").returncode == 0
        result = compose(stack, "up", "--wait", "--detach")
        assert result.returncode == 0, result.stderr
        with stack.client() as client:
            assert get(client, f"/flow_runs/{run}")["state_type"] == "COMPLETED"

    @pytest.mark.slow
    def test_another_password_in_env_is_the_login_after_the_next_compose_up(
        self, stack: Stack
    ) -> None:
        path = stack.root / ".env"
        before = path.read_text()
        stack.edit(".env", lambda text: text.replace("STACK_PASSWORD='", "STACK_PASSWORD='other "))
        try:
            result = compose(stack, "up", "--wait", "--detach")
            assert result.returncode == 0, result.stderr
            answers = [
                httpx.get(f"{stack.url}/api/version", auth=("admin", password)).status_code
                for password in (NASTY, f"other {NASTY}")
            ]
            assert answers == [httpx.codes.UNAUTHORIZED, httpx.codes.OK]
            with stack.client() as client:
                complete(client, "hello/hello")
        finally:
            path.write_text(before)
            stack.up()


@pytest.mark.usefixtures("base_images")
@pytest.mark.parametrize(
    ("project", "file"),
    [(".", "flows/requirements.txt"), ("own", "requirements.txt")],
    ids=["clone", "own"],
)
def test_a_user_package_is_in_the_worker(project: str, file: str, tmp_path: Path) -> None:
    root = stacks.clone(tmp_path)
    (root / project).mkdir(exist_ok=True)
    (root / project / file).write_text("tinynetrc==1.3.1\n")
    image = f"prefect-stack-test/packages-{os.getpid()}"
    env = {**os.environ, "WORKER_IMAGE": image, "STACK_PROJECT": project}
    subprocess.run(
        ["docker", "compose", "build", "--quiet", "worker"], check=True, cwd=root, env=env
    )
    try:
        docker("run", "--rm", "--entrypoint", "python", image, "-c", "import tinynetrc, prefect")
    finally:
        docker("rmi", image)


def compose(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `docker compose` in the clone, as users do."""
    return stack.run("docker", "compose", *arguments)


def execute(stack: Stack, service: str, *argv: str) -> str:
    """Run a command inside a container, which has to exit with 0; return its standard output."""
    result = compose(stack, "exec", "-T", service, *argv)
    assert result.returncode == 0, result.stderr
    return result.stdout


def docker(*arguments: str) -> str:
    """Run `docker`, which has to exit with 0; return its standard output."""
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout


def inspect(stack: Stack, service: str) -> dict[str, Any]:
    """Return what `docker inspect` says of a service's container."""
    container = compose(stack, "ps", "--all", "--quiet", service).stdout.strip()
    return dict(json.loads(docker("inspect", container))[0])


def running_pid(stack: Stack, service: str) -> int | None:
    """Return the pid of a container's main process on the host; None if it does not run."""
    state = inspect(stack, service)["State"]
    return int(str(state["Pid"])) if state["Running"] else None
