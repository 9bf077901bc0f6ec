"""Mistakes that Docker's own services find, with plain `docker compose` too."""

from __future__ import annotations

import pytest

from tests import stack as stacks
from tests.stack import Stack, single_quoted


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("STACK_PROT=4300", ".env: STACK_PROT is no setting of the stack"),
        ("WORKER_CONCURRENCY=0", "WORKER_CONCURRENCY in the environment is not valid"),
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
    unstarted.up()
    prefect_yaml = unstarted.root / "prefect.yaml"
    prefect_yaml.write_text(prefect_yaml.read_text().replace("hello.py:hello", "hello.py:hullo"))
    result = unstarted.run("scripts/stack", "up", "--docker")
    assert result.returncode == 2, unstarted.said[-1]
    assert "prefect.yaml line" in result.stderr
    assert "names a flow that does not exist" in result.stderr
