"""Reads one container of the stack: its state, how long it took to start, its log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scripts.backends import children
from scripts.status import ServiceStatus

if TYPE_CHECKING:
    from python_on_whales import Container

    from server.errors import StackError
    from server.service import Service

LOOP_RESTARTS = 3
STEADY_AFTER = 60.0  # seconds of life after which a restarted container counts as healthy again


def service_status(service: Service, container: Container) -> ServiceStatus:
    """The status of `service`, from its container."""
    name, state = service.name, container.state
    if not service.runs_once:
        health = state.health.status if state.health else "no check"
        healthy = bool(state.running) and health == "healthy"
        status = "running" if state.running else "failed" if state.exit_code else "stopped"
        detail = f"{container.name}, {state.status}, {health}"
        if container.restart_count:
            detail += f", {container.restart_count} restarts"
        if loops(container, datetime.now(UTC)):
            healthy = False
            detail += f", ends again and again, see: scripts/stack logs {name}"
        return ServiceStatus(name=name, status=status, healthy=healthy, detail=detail)
    if state.status != "exited":
        return ServiceStatus(name=name, status="starting", healthy=False, detail=state.status or "")
    done = state.exit_code == 0
    return ServiceStatus(
        name=name,
        status="done" if done else "failed",
        healthy=done,
        detail="" if done else _reason(name, container),
    )


def loops(container: Container, now: datetime) -> bool:
    """Whether the container ends again and again.

    The engine tells how often it has restarted the container in all, and when it last did, but not
    when the other restarts were. So a container loops if it was restarted often and is young.
    """
    started = container.state.started_at
    often = (container.restart_count or 0) >= LOOP_RESTARTS
    return often and (started is None or (now - started).total_seconds() < STEADY_AFTER)


def failure(name: str, container: Container, since: datetime) -> StackError:
    """The error of a container that failed, from what it has logged after `since`."""
    return children.failure(name, container.state.exit_code, _logged(container, since))


def _reason(name: str, container: Container) -> str:
    state = container.state
    if state.started_at is None:
        return f"exit code {state.exit_code}"
    return str(failure(name, container, state.started_at))


def seconds(container: Container) -> float | None:
    """The seconds from the start of the container until it was healthy or ended; None before."""
    state = container.state
    if not state.started_at:
        return None
    if state.status == "exited" and state.finished_at:
        return (state.finished_at - state.started_at).total_seconds()
    log = state.health.log if state.health else None
    end = next((check.end for check in log or [] if check.exit_code == 0), None)
    return (end - state.started_at).total_seconds() if end else None


def tail(container: Container, since: datetime) -> str:
    """The last lines that the container has logged after `since`."""
    return children.tail(_logged(container, since))


def _logged(container: Container, since: datetime) -> str:
    text = container.logs(since=since)
    text = text if isinstance(text, str) else text.decode(errors="replace")
    return text.replace("\r", "")
