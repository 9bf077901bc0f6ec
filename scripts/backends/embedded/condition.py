"""The status of an embedded stack, from its lock and the state that its supervisor has written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.backends.embedded import accounts, outcome, state
from scripts.status import ServiceStatus, StackStatus

if TYPE_CHECKING:
    from scripts.backends.embedded.layout import Layout
    from scripts.backends.embedded.state import ServiceState, StackState
    from server.settings import Settings

# The supervisor writes its state every few seconds, or after a check that took longer.
STALE_SECONDS = 30.0


def of(layout: Layout, settings: Settings) -> StackStatus:
    """Return the status of the stack.

    Raises:
        MistakeError: the stack is another user's.
    """
    current, alive = state.read(layout), state.alive(layout)
    if current is None and not alive and not state.damaged(layout):
        return StackStatus(
            name=settings.stack_name,
            backend="none",
            running=False,
            url=settings.ui_url,
            services=[],
        )
    phase = current.phase if current else ""
    services = (outcome.latest(layout, each) for each in current.services) if current else ()
    listed = [_service(each, alive=alive, phase=phase) for each in services]
    problem = _problem(layout, current, alive=alive)
    return StackStatus(
        name=settings.stack_name,
        backend="embedded",
        running=phase == "running" and problem is None and all(each.healthy for each in listed),
        url=settings.ui_url,
        services=listed,
        problem=problem,
        warning=accounts.warning(layout),
    )


def _service(service: ServiceState, *, alive: bool, phase: str) -> ServiceStatus:
    # After a failed start, the supervisor has stopped all services and then ended.
    unknown = not alive and phase != "failed"
    return ServiceStatus(
        name=service.name,
        status="unknown: the supervisor is gone" if unknown else service.status,
        healthy=service.healthy and alive,
        detail=service.problem or _detail(service.pid, service.restarts),
    )


def _detail(pid: int | None, restarts: int) -> str:
    parts = [f"pid {pid}"] if pid else []
    parts += [f"{restarts} restarts"] if restarts else []
    return ", ".join(parts)


def _problem(layout: Layout, current: StackState | None, *, alive: bool) -> str | None:
    """What is wrong with the supervisor itself, and what to type; None if nothing is."""
    if not alive and current and current.phase == "failed":
        return f"the last start failed, and what it had started was stopped again: {current.error}"
    if not alive:
        return (
            "the supervisor is gone: it was killed, or the machine went down; what it started may "
            "still run, and nothing starts it again. Type scripts/stack up"
        )
    if current is None:
        what = "is damaged" if state.damaged(layout) else "is not there"
        return (
            f"the supervisor lives, but {layout.state} {what}; it writes it anew within seconds. "
            "If it stays so, look for a full disk (df -h), then type scripts/stack up"
        )
    if current.age_seconds > STALE_SECONDS:
        return (
            f"the supervisor (pid {current.pid}) lives, but could not write its state for "
            f"{current.age_seconds:.0f} s: what is shown is old. Look for a full disk: df -h "
            f"{layout.base}; what it says is in {layout.logs / 'supervisor.log'}"
        )
    return None
