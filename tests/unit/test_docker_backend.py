"""How the Docker backend judges its containers, and what it says about one that failed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from python_on_whales.exceptions import DockerException

from scripts.backends import children
from scripts.backends.docker import containers, faults
from server import services
from server.errors import MistakeError, StackError, report_line
from server.services import bootstrap, worker


def container(
    *,
    restarts: int = 0,
    lived: float = 600,
    exit_code: int | None = None,
    said: str = "",
    health: str = "healthy",
) -> Any:
    """Return a container as the engine describes it; with an `exit_code`, it has ended."""
    state = SimpleNamespace(
        running=exit_code is None,
        status="running" if exit_code is None else "exited",
        exit_code=exit_code or 0,
        started_at=datetime.now(UTC) - timedelta(seconds=lived),
        health=SimpleNamespace(status=health, log=[]),
    )
    return SimpleNamespace(
        name="one", state=state, restart_count=restarts, logs=lambda since: said if since else ""
    )


# The services that come before bootstrap, all of them well.
BEFORE = {
    each.name: container(exit_code=0) if each.runs_once else container()
    for each in services.every()
    if each.name not in {"bootstrap", "worker"}
}


@pytest.mark.parametrize(
    ("restarts", "lived", "healthy"),
    [(0, 5, True), (2, 5, True), (3, 5, False), (3, 600, True), (50, 5, False)],
)
def test_one_that_ends_again_and_again_is_not_healthy(
    restarts: int, lived: float, *, healthy: bool
) -> None:
    status = containers.service_status(worker.SERVICE, container(restarts=restarts, lived=lived))
    assert status.healthy == healthy
    assert ("scripts/stack logs worker" in status.detail) != healthy


@pytest.mark.parametrize(("code", "kind"), [(1, StackError), (2, MistakeError)])
def test_what_failed_is_told_in_its_own_words(code: int, kind: type[StackError]) -> None:
    error = kind("first line", found="\n".join(f"line {n}" for n in range(30)))
    said = f"table\nerror: {error}\n{report_line(error)}\n"
    failed = container(exit_code=code, said=said)
    failure = containers.failure("bootstrap", failed, datetime.now(UTC))
    assert type(failure) is kind
    assert str(failure).startswith("first line\n")
    assert str(failure).endswith("line 29")
    status = containers.service_status(bootstrap.SERVICE, failed)
    assert (status.status, status.healthy, status.detail) == ("failed", False, str(failure))


def test_what_failed_without_a_word_names_its_log() -> None:
    failure = containers.failure(
        "bootstrap", container(exit_code=137, said="half a li"), datetime.now(UTC)
    )
    assert "do:       scripts/stack logs bootstrap" in str(failure)
    assert "half a li" in str(failure)


class TestStart:
    """Which error a start raises when `docker compose up` says that it has failed."""

    BEGAN = datetime.now(UTC)
    FAILED = DockerException(["docker", "compose", "up"], 1, None, b"no space left")
    SAID = report_line(MistakeError("prefect.yaml line 3: wrong"))

    def test_a_failed_bootstrap_leaves_the_stack_up(self) -> None:
        project = {**BEFORE, "bootstrap": container(exit_code=2, said=self.SAID)}
        error = faults.incomplete(project, services.every(), self.BEGAN)
        assert type(error) is MistakeError
        assert str(error) == "prefect.yaml line 3: wrong"

    def test_one_that_is_required_does_not(self) -> None:
        project = {**BEFORE, "migrate": container(exit_code=1, said="no way")}
        assert faults.incomplete(project, services.every(), self.BEGAN) is None
        error = faults.failed(project, services.every(), self.FAILED, self.BEGAN)
        assert str(error) == str(children.failure("migrate", 1, "no way"))

    def test_one_that_answers_badly_is_named_as_without_docker(self) -> None:
        project = {**BEFORE, "server": container(health="unhealthy", said="no way")}
        assert faults.incomplete(project, services.every(), self.BEGAN) is None
        error = faults.failed(project, services.every(), self.FAILED, self.BEGAN)
        detail = "one, running, unhealthy"
        assert str(error) == str(children.not_healthy("server", detail, "no way"))

    def test_when_no_service_has_failed_compose_itself_has(self) -> None:
        error = faults.failed(BEFORE, services.every(), self.FAILED, self.BEGAN)
        assert error.what == "docker compose up failed"
        assert "no space left" in str(error.details)
