"""How an embedded stack is doing: from its lock, and from what its supervisor has written."""

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
    """The condition of the stack.

    Raises:
        MistakeError: the stack is another user's.
    """
    found, alive = state.read(layout), state.alive(layout)
    if found is None and not alive and not state.damaged(layout):
        return StackStatus(
            name=settings.stack_name,
            backend="none",
            running=False,
            url=settings.ui_url,
            services=[],
        )
    services = (outcome.latest(layout, each) for each in found.services) if found else ()
    listed = [_service(each, alive=alive, phase=found.phase if found else "") for each in services]
    problem = _problem(layout, found, alive=alive)
    well = found is not None and found.phase == "running" and problem is None
    return StackStatus(
        name=settings.stack_name,
        backend="embedded",
        running=well and all(each.healthy for each in listed),
        url=settings.ui_url,
        services=listed,
        problem=problem,
        warning=accounts.warning(layout),
    )


def _service(each: ServiceState, *, alive: bool, phase: str) -> ServiceStatus:
    gone = (
        not alive and phase != "failed"
    )  # after a start that failed, the supervisor has ended all
    return ServiceStatus(
        name=each.name,
        status="unknown: the supervisor is gone" if gone else each.status,
        healthy=each.healthy and alive,
        detail=each.problem or _detail(each.pid, each.restarts),
    )


def _detail(pid: int | None, restarts: int) -> str:
    parts = [f"pid {pid}"] if pid else []
    parts += [f"{restarts} restarts"] if restarts else []
    return ", ".join(parts)


def _problem(layout: Layout, found: StackState | None, *, alive: bool) -> str | None:
    """What is wrong with the supervisor itself, and what to type."""
    if not alive and found and found.phase == "failed":
        return f"the last start failed, and what it had started was stopped again: {found.error}"
    if not alive:
        return (
            "the supervisor is gone: it was killed, or the machine went down; what it started may "
            "still run, and nothing starts it again. Type scripts/stack up"
        )
    if found is None:
        what = "is damaged" if state.damaged(layout) else "is not there"
        return (
            f"the supervisor lives, but {layout.state} {what}; it writes it anew within seconds. "
            "If it stays so, look for a full disk (df -h), then type scripts/stack up"
        )
    if found.age_seconds > STALE_SECONDS:
        return (
            f"the supervisor (pid {found.pid}) lives, but could not write its state for "
            f"{found.age_seconds:.0f} s: what is shown is old. Look for a full disk: df -h "
            f"{layout.base}; what it says is in {layout.logs / 'supervisor.log'}"
        )
    return None
