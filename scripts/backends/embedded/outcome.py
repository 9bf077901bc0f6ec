"""Keeps the result of a bootstrap that a command ran, instead of the supervisor.

The supervisor runs bootstrap when the stack starts. `up` on a running stack runs it again itself,
with the environment of the user who typed it, and `status` then has to show the later result.
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
    """Record the result of bootstrap.

    Raises:
        OSError: the record cannot be written.
    """
    result = ServiceState(
        name=BOOTSTRAP,
        status="failed" if error else "done",
        healthy=error is None,
        problem=str(error) if error else None,
        exit_code=error.exit_code if error else 0,
        seconds=round(seconds, 1),
    )
    state.replace(_path(layout), result)


def forget(layout: Layout) -> None:
    """Remove the record, for a new supervisor that runs bootstrap itself."""
    _path(layout).unlink(missing_ok=True)


def latest(layout: Layout, shown: ServiceState) -> ServiceState:
    """Return the recorded result if `shown` is bootstrap's and there is one, otherwise `shown`."""
    if shown.name != BOOTSTRAP:
        return shown
    try:
        return ServiceState.model_validate_json(_path(layout).read_text())
    except (OSError, ValueError):
        return shown


def _path(layout: Layout) -> Path:
    return layout.base / "bootstrap.json"
