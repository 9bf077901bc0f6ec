"""What is read from a container, and said of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from scripts.backends.docker import containers
from server.errors import MistakeError, StackError, report_line
from server.services import bootstrap, worker


def container(*, restarts: int = 0, lived: float = 600, exit_code: int = 0, said: str = "") -> Any:
    """A container as the engine tells of it."""
    state = SimpleNamespace(
        running=exit_code == 0,
        status="exited" if exit_code else "running",
        exit_code=exit_code,
        started_at=datetime.now(UTC) - timedelta(seconds=lived),
        health=SimpleNamespace(status="healthy", log=[]),
    )
    return SimpleNamespace(
        name="one", state=state, restart_count=restarts, logs=lambda since: said if since else ""
    )


@pytest.mark.parametrize(
    ("restarts", "lived", "healthy"),
    [(0, 5, True), (2, 5, True), (3, 5, False), (3, 600, True), (50, 5, False)],
)
def test_one_that_ends_again_and_again_is_not_healthy(
    restarts: int, lived: float, *, healthy: bool
) -> None:
    found = containers.service_status(worker.SERVICE, container(restarts=restarts, lived=lived))
    assert found.healthy == healthy
    assert ("scripts/stack logs worker" in found.detail) != healthy


@pytest.mark.parametrize(("code", "kind"), [(1, StackError), (2, MistakeError)])
def test_what_failed_is_told_in_its_own_words(code: int, kind: type[StackError]) -> None:
    error = kind("first line", found="\n".join(f"line {n}" for n in range(30)))
    said = f"table\nerror: {error}\n{report_line(error)}\n"
    failed = container(exit_code=code, said=said)
    found = containers.failure("bootstrap", failed, datetime.now(UTC))
    assert type(found) is kind
    assert str(found).startswith("first line\n")
    assert str(found).endswith("line 29")
    status = containers.service_status(bootstrap.SERVICE, failed)
    assert (status.status, status.healthy, status.detail) == ("failed", False, str(found))


def test_what_failed_without_a_word_names_its_log() -> None:
    found = containers.failure(
        "bootstrap", container(exit_code=137, said="half a li"), datetime.now(UTC)
    )
    assert "do:       scripts/stack logs bootstrap" in str(found)
    assert "half a li" in str(found)
