"""Every mistake ends in one message and exit code 2, before anything is created."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest

from tests import stack as stacks
from tests.embedded.processes import processes
from tests.stack import Stack, make, single_quoted

if TYPE_CHECKING:
    from collections.abc import Iterator


def refused(stack: Stack, *argv: str, env: dict[str, str] | None = None) -> str:
    """Run a command that has to exit with 2 and one message; return the message."""
    result = stack.run(*(argv or ("scripts/stack", "up", "--embedded")), env=env)
    assert result.returncode == 2, stack.said[-1]
    assert "Traceback" not in result.stdout + result.stderr
    assert result.stderr.count("error: ") == 1
    for part in ("expected:", "found:", "do:"):
        assert part in result.stderr
    return result.stderr


def nothing_made(stack: Stack) -> bool:
    """Tell whether the stack has neither a state nor a database."""
    base = stack.root / ".stack" / stack.name
    return not (base / "state.json").exists() and not (base / "postgres").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("STACK_PROT=4300", ".env line 1: STACK_PROT is not a setting of this stack"),
        ("STACK_USER=a:b", "STACK_USER in .env line 1 is not valid"),
        ("this is no setting", ".env line 1 is not a setting"),
        (
            "STACK_AUTH=off\nSTACK_BIND=0.0.0.0",
            "STACK_AUTH in .env line 1 does not go with STACK_BIND",
        ),
        ("SLACK_WEBHOOK_URL=http://x", "SLACK_WEBHOOK_URL in .env line 1 is not valid"),
    ],
)
def test_a_mistake_in_env_is_named_with_its_line(unstarted: Stack, line: str, message: str) -> None:
    (unstarted.root / ".env").write_text(line + "\n")
    assert message in refused(unstarted)
    assert not (unstarted.root / ".stack").exists()


def test_a_malformed_port_is_refused(unstarted: Stack) -> None:
    unstarted.variables["STACK_PORT"] = "many"
    assert "STACK_PORT in the environment is not valid" in refused(unstarted)


def test_a_port_in_use_is_refused_before_anything_starts(unstarted: Stack) -> None:
    with socket.create_server(("127.0.0.1", unstarted.port)):
        message = refused(unstarted)
    assert f"port {unstarted.port} on 127.0.0.1 is in use" in message
    assert list((unstarted.root / ".stack" / unstarted.name / "secrets").iterdir()) == []
    assert "STACK_PORT" in message
    assert nothing_made(unstarted)


def test_a_folder_that_cannot_be_written_is_named(unstarted: Stack) -> None:
    (unstarted.root / ".stack").write_text("a file where the folder should be")
    assert str(unstarted.root / ".stack") in refused(unstarted)


@pytest.fixture
def small_disk(unstarted: Stack) -> Iterator[Path]:
    """A file system of 64 MiB where the stack keeps its data."""
    folder = unstarted.root / ".stack"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.usefixtures("small_disk")
def test_a_disk_that_is_nearly_full_is_refused(unstarted: Stack) -> None:
    message = refused(unstarted)
    assert "is nearly full" in message
    assert "512 MiB free" in message
    assert nothing_made(unstarted)


def test_docker_without_an_engine_is_refused(unstarted: Stack) -> None:
    env = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    message = refused(unstarted, "scripts/stack", "up", "--docker", env=env)
    assert "no Docker engine answers" in message
    assert "scripts/stack up --embedded" in message


def test_a_python_that_is_too_old_is_refused(unstarted: Stack, tmp_path: Path) -> None:
    programs(tmp_path, 'echo "Python 3.9.2"; exit 1')
    (unstarted.root / ".venv").unlink()
    message = refused(unstarted, "scripts/stack", "status", env=without_environment(tmp_path))
    assert "Python 3.11, 3.12 or 3.13" in message
    assert "Python 3.9.2" in message


def test_a_python_without_venv_is_refused(unstarted: Stack, tmp_path: Path) -> None:
    real = stacks.SOURCE / ".venv/bin/python"
    programs(tmp_path, f'case "$*" in *ensurepip*) exit 1;; esac; exec {real} "$@"')
    (unstarted.root / ".venv").unlink()
    message = refused(unstarted, "scripts/stack", "status", env=without_environment(tmp_path))
    assert "has no venv" in message
    assert "python3-venv" in message
    assert not (unstarted.root / ".venv").exists()


def programs(folder: Path, script: str) -> None:
    """Put a `python3` that runs the shell `script`, and the tools of a shell, into `folder`."""
    names = ["sh", "dirname", "cat", "cksum", "mktemp", "rm", "tail", "sed", "head", "flock"]
    for name in names:
        directory = next(p for p in os.get_exec_path() if os.access(f"{p}/{name}", os.X_OK))
        (folder / name).symlink_to(f"{directory}/{name}")
    (folder / "python3").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "python3").chmod(0o755)


def without_environment(folder: Path) -> dict[str, str]:
    """Return an environment with the programs of `folder` only, for which .venv is out of date."""
    return {"PATH": str(folder), "STACK_LOCK": "requirements.lock", "STACK_PYTHON": "python3"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that has been up, so that it has an environment and a database."""
    with stacks.stack(make(tmp_path_factory, "built")) as stack:
        stack.up()
        yield stack


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("flows/hello.py:hello", "flows/hello.py:hullo"), "names a flow that does not exist"),
        (("flows/hello.py:hello", "flows/none.py:hello"), "names a file that does not exist"),
        (("*/15 * * * *", "every now and then"), "is not valid"),
        (("    parameters:", "    parametres:"), "unknown key 'parametres'"),
    ],
)
def test_a_mistake_in_prefect_yaml_is_named_with_its_line(
    built: Stack, change: tuple[str, str], message: str
) -> None:
    before = (built.root / "prefect.yaml").read_text()
    built.edit("prefect.yaml", lambda text: text.replace(*change, 1))
    try:
        said = refused(built, "scripts/bootstrap.py")
    finally:
        (built.root / "prefect.yaml").write_text(before)
    line = 1 + before[: before.index(change[0].strip())].count("\n")
    assert f"prefect.yaml line {line}: " in said
    assert message in said
    assert built.status()["running"]


def test_a_machine_without_docker_needs_none(built: Stack, tmp_path: Path) -> None:
    for path in Path("/usr/bin").iterdir():
        if not path.name.startswith("docker"):
            (tmp_path / path.name).symlink_to(path)
    env = {"PATH": str(tmp_path)}
    for verb in ("status", "env", "logs", "up"):
        result = built.run("scripts/stack", verb, env=env)
        assert result.returncode == 0, built.said[-1]
    assert "no program `docker`" in refused(built, "scripts/stack", "up", "--docker", env=env)


@pytest.mark.slow
def test_a_damaged_state_is_no_obstacle(built: Stack) -> None:
    state = built.root / ".stack" / built.name / "state.json"
    state.write_text("")
    built.down()
    assert processes(built) == []
    built.up()


def test_packages_do_not_change_under_a_running_stack(built: Stack) -> None:
    built.edit("flows/requirements.txt", lambda text: text + "# another line\n")
    result = built.run("scripts/stack", "status")
    assert result.returncode == 0, built.said[-1]
    assert "it changes only after scripts/stack down" in result.stderr
    assert "making the environment" not in result.stderr
    built.edit("flows/requirements.txt", lambda text: text.replace("# another line\n", ""))


def test_settings_that_changed_while_it_runs_are_refused(built: Stack) -> None:
    (built.root / ".env").write_text("WORKER_CONCURRENCY=3\n")
    assert "have changed since the stack was started" in refused(built)
    (built.root / ".env").unlink()


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "ENCRYPTION_KEY"])
def test_a_secret_that_changed_after_it_was_used_is_refused(built: Stack, name: str) -> None:
    built.down()
    value = {"POSTGRES_PASSWORD": stacks.NASTY, "ENCRYPTION_KEY": "A" * 43 + "="}[name]
    (built.root / ".env").write_text(f"{name}={single_quoted(value)}\n")
    message = refused(built)
    assert f"{name} differs from the one that this stack was made with" in message
    assert value not in message
    (built.root / ".env").unlink()
    assert not built.status()["running"]


@pytest.mark.slow
def test_a_service_that_cannot_start_is_shown_with_its_last_lines(built: Stack) -> None:
    result = _up_with(built, "postgresql.auto.conf", "max_connections = many\n")
    assert result.returncode == 1, built.said[-1]
    assert "postgres did not become healthy" in result.stderr
    assert 'invalid value for parameter "max_connections"' in result.stderr


def test_data_of_another_version_of_postgresql_are_refused(built: Stack) -> None:
    result = _up_with(built, "PG_VERSION", "12\n")
    assert result.returncode == 2, built.said[-1]
    assert "the data of the stack are of another version of PostgreSQL" in result.stderr
    assert "version 12" in result.stderr


def _up_with(stack: Stack, name: str, content: str) -> subprocess.CompletedProcess[str]:
    """Run `up` while a file of the database has other content, and restore the file."""
    stack.down()
    home = next(Path("/").glob(f"var/lib/prefect-stack/{stack.name}-*"), None)
    path = (home or stack.root / ".stack" / stack.name) / "postgres" / name
    before = path.read_text()
    path.write_text(content)
    result = stack.run("scripts/stack", "up", "--embedded")
    path.write_text(before)
    assert "Traceback" not in result.stderr
    assert processes(stack) == []
    return result


@pytest.mark.slow
def test_a_database_newer_than_the_code_is_refused(built: Stack) -> None:
    built.up()
    path = built.root / ".stack" / built.name / "secrets/database/password"
    cluster = next(
        service["detail"] for service in built.status()["services"] if service["name"] == "postgres"
    )
    socket_folder = _socket_folder(int(cluster.split(",")[0].removeprefix("pid ")))
    connection = psycopg2.connect(
        host=socket_folder, user="prefect", dbname="prefect", password=path.read_text()
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("update alembic_version set version_num = 'ffffffffffff'")
    connection.close()
    built.down()
    message = refused(built)
    assert "the database is newer than the code" in message
    assert "ffffffffffff" in message
    assert not built.status()["running"]


def _socket_folder(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - a file of /proc
        arguments = file.read().decode().split("\0")
    return next(a.partition("=")[2] for a in arguments if a.startswith("unix_socket_directories"))
