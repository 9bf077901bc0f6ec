"""The result of the last bootstrap that a command ran itself, beside the stack's supervisor.

The supervisor runs bootstrap when the stack starts, and shows how it went. `up` on a running stack
runs it again, with the environment of whoever typed that; `status` then shows this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.backends.base import BOOTSTRAP
from scripts.backends.embedded import state
from scripts.backends.embedded.state import ServiceState

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.backends.embedded.layout import Layout
    from server.errors import StackError


def keep(layout: Layout, error: StackError | None, seconds: float) -> None:
    """Record how bootstrap went.

    Raises:
        OSError: it cannot be written.
    """
    found = ServiceState(
        name=BOOTSTRAP,
        status="failed" if error else "done",
        healthy=error is None,
        problem=str(error) if error else None,
        exit_code=error.exit_code if error else 0,
        seconds=round(seconds, 1),
    )
    state.replace(_path(layout), found)


def forget(layout: Layout) -> None:
    """Drop the record: a new supervisor runs bootstrap itself."""
    _path(layout).unlink(missing_ok=True)


def latest(layout: Layout, shown: ServiceState) -> ServiceState:
    """`shown`, or for bootstrap what a command has found since; if that can be read."""
    if shown.name != BOOTSTRAP:
        return shown
    try:
        return ServiceState.model_validate_json(_path(layout).read_text())
    except (OSError, ValueError):
        return shown


def _path(layout: Layout) -> Path:
    return layout.base / "bootstrap.json"
