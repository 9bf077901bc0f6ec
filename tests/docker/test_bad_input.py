"""Mistakes that the containers find themselves, so also with plain `docker compose`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests import stack as stacks
from tests.stack import Stack, single_quoted

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("STACK_PROT=4300", ".env line 1: STACK_PROT is not a setting of this stack"),
        ("WORKER_CONCURRENCY=0", "WORKER_CONCURRENCY in .env line 1 is not valid"),
        ("STACK_PASSWORD=hunter2", "STACK_PASSWORD is too short for a new stack"),
    ],
)
def test_plain_compose_stops_at_a_mistake_in_env(unstarted: Stack, line: str, message: str) -> None:
    (unstarted.root / ".env").write_text(line + "\n")
    result = unstarted.run("docker", "compose", "up", "--wait")
    assert result.returncode != 0
    assert 'service "init" didn\'t complete successfully: exit 2' in result.stderr
    logs = unstarted.run("docker", "compose", "logs", "--no-log-prefix", "init").stdout
    assert message in logs
    assert "Traceback" not in logs
    running = unstarted.run("docker", "compose", "ps", "--quiet").stdout
    assert running.split() == []


def test_a_secret_of_the_shell_is_refused_and_shown_by_nothing(unstarted: Stack) -> None:
    unstarted.variables["STACK_PASSWORD"] = stacks.NASTY
    message = "STACK_PASSWORD in the environment does not reach a stack in Docker"
    result = unstarted.run("scripts/stack", "up", "--docker")
    assert result.returncode == 2, unstarted.said[-1]
    assert message in result.stderr
    unstarted.run("docker", "compose", "build", "--quiet")
    assert unstarted.run("docker", "compose", "up", "--wait").returncode != 0
    assert message in unstarted.run("docker", "compose", "logs", "init").stdout
    containers = unstarted.run("docker", "compose", "ps", "--all", "--quiet").stdout.split()
    assert (
        json.dumps(stacks.NASTY)[1:-1] not in unstarted.run("docker", "inspect", *containers).stdout
    )


@pytest.mark.slow
def test_a_password_changed_after_the_database_was_made_is_refused(unstarted: Stack) -> None:
    unstarted.up()
    unstarted.down()
    (unstarted.root / ".env").write_text(f"POSTGRES_PASSWORD={single_quoted(stacks.NASTY)}\n")
    result = unstarted.run("scripts/stack", "up", "--docker")
    assert result.returncode == 2, unstarted.said[-1]
    assert "POSTGRES_PASSWORD differs from the one that this stack was made with" in result.stderr
    assert stacks.NASTY not in result.stdout + result.stderr
    assert not unstarted.status()["running"]
    (unstarted.root / ".env").unlink()
    _in_volumes(unstarted, "mv database/password database/kept")
    assert "the secret database/password of this stack is lost" in _refused(unstarted)
    _in_volumes(unstarted, "mv database/kept database/password")
    unstarted.up()
    prefect_yaml = unstarted.root / "prefect.yaml"
    prefect_yaml.write_text(prefect_yaml.read_text().replace("hello.py:hello", "hello.py:hullo"))
    result = unstarted.run("scripts/stack", "up", "--docker")
    assert result.returncode == 2, unstarted.said[-1]
    assert "prefect.yaml line" in result.stderr
    assert "names a flow that does not exist" in result.stderr
    assert f"{unstarted.name} is up, but not every declaration could be applied" in result.stderr
    status = unstarted.status()
    shown = {service["name"]: service for service in status["services"]}
    assert not status["running"]
    assert shown["bootstrap"]["status"] == "failed"
    assert "names a flow that does not exist" in shown["bootstrap"]["detail"]
    assert [shown[name]["healthy"] for name in ("postgres", "server", "worker")] == [True] * 3


def _refused(stack: Stack) -> str:
    result = stack.run("scripts/stack", "up", "--docker")
    assert result.returncode == 2, stack.said[-1]
    return result.stderr


def _in_volumes(stack: Stack, script: str) -> None:
    """Run a shell script in a folder in which each volume of secrets is mounted by its name."""
    names = ("database", "encryption", "api")
    volumes = [f"--volume={stack.name}_secret-{name}:/secrets/{name}" for name in names]
    argv = ["docker", "run", "--rm", "--workdir", "/secrets", *volumes, "--entrypoint", "sh"]
    subprocess.run([*argv, stack.variables["SERVER_IMAGE"], "-c", script], check=True)


def test_docker_without_compose_is_refused(unstarted: Stack, tmp_path: Path) -> None:
    real = shutil.which("docker")
    (tmp_path / "docker").write_text(
        f'#!/bin/sh\nfor a; do [ "$a" = compose ] && exit 1; done\nexec {real} "$@"\n'
    )
    (tmp_path / "docker").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    result = unstarted.run("scripts/stack", "up", "--docker", env=env)
    assert result.returncode == 2, unstarted.said[-1]
    assert "Docker has no Compose v2" in result.stderr


@pytest.mark.slow
def test_a_volume_that_cannot_be_written_is_named(unstarted: Stack) -> None:
    unstarted.run("docker", "compose", "build", "--quiet")
    unstarted.run("docker", "compose", "create", "init")
    volume = f"{unstarted.name}_secret-database:/secrets"
    image = unstarted.variables["SERVER_IMAGE"]
    argv = ["docker", "run", "--rm", "--user", "0", "--volume", volume, "--entrypoint", "sh"]
    # Docker gives an empty volume to the user of the image, so this one gets a file.
    script = "touch /secrets/somebody-elses && chown 0:0 /secrets"
    subprocess.run([*argv, image, "-c", script], check=True)
    result = unstarted.run("scripts/stack", "up", "--docker")
    assert result.returncode == 2, unstarted.said[-1]
    assert "the folder for secrets, /run/stack/secrets/database, cannot be written" in result.stderr


@pytest.mark.slow
def test_the_stack_of_another_clone_is_left_alone(unstarted: Stack, tmp_path: Path) -> None:
    unstarted.up()
    other = Stack(stacks.clone(tmp_path), unstarted.name, unstarted.port, "docker")
    result = other.run("scripts/stack", "down", "--volumes")
    assert result.returncode == 2, other.said[-1]
    assert f"{unstarted.name} is the stack of another clone" in result.stderr
    assert unstarted.status()["running"]
