"""What is read from a container of the stack: its state, its times, its last lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.status import ServiceStatus

if TYPE_CHECKING:
    from datetime import datetime

    from python_on_whales import Container

TAIL_LINES = 15
LONG_RUNNING = {"postgres", "server", "worker"}


def service_status(name: str, container: Container) -> ServiceStatus:
    """How the container of the service `name` is doing."""
    state = container.state
    if name in LONG_RUNNING:
        health = state.health.status if state.health else "no check"
        healthy = bool(state.running) and health == "healthy"
        status = "running" if state.running else "failed" if state.exit_code else "stopped"
        detail = f"{container.name}, {state.status}, {health}"
        if container.restart_count:
            detail += f", {container.restart_count} restarts"
        return ServiceStatus(name=name, status=status, healthy=healthy, detail=detail)
    if state.status != "exited":
        return ServiceStatus(name=name, status="starting", healthy=False, detail=state.status or "")
    done = state.exit_code == 0
    return ServiceStatus(
        name=name,
        status="done" if done else "failed",
        healthy=done,
        detail="" if done else f"exit code {state.exit_code}",
    )


def seconds(container: Container) -> float | None:
    """From its start to its health or its end; None where it has come to neither."""
    state = container.state
    if not state.started_at:
        return None
    if state.status == "exited" and state.finished_at:
        return (state.finished_at - state.started_at).total_seconds()
    log = state.health.log if state.health else None
    end = next((each.end for each in log or [] if each.exit_code == 0), None)
    return (end - state.started_at).total_seconds() if end else None


def tail(container: Container, since: datetime) -> str:
    """The last lines that it has printed since then."""
    text = container.logs(tail=TAIL_LINES, since=since)
    return text if isinstance(text, str) else text.decode(errors="replace")
