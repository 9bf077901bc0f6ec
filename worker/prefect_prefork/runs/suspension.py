"""Tells runs that they are suspended, each over a socket of its own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from prefect_prefork.common import framing, messages
from prefect_prefork.upstream import SuspendingObserver

if TYPE_CHECKING:
    import socket
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun, State


class Suspensions:
    """Observes suspensions for all runs of a worker, where Prefect has an observer in each run."""

    def __init__(self) -> None:
        self._lines: dict[UUID, socket.socket] = {}
        self.observer = SuspendingObserver(on_suspended=self._tell)

    def add(self, flow_run: FlowRun, line: socket.socket) -> None:
        """Watch for suspensions of a run, from its present state on."""
        self._lines[flow_run.id] = line
        self.observer.watch(flow_run)

    def remove(self, flow_run_id: UUID) -> None:
        """Stop watching for suspensions of a run."""
        self._lines.pop(flow_run_id, None)
        self.observer.remove_in_flight_flow_run_id(flow_run_id)

    def _tell(self, flow_run_id: UUID, state: State) -> None:
        if line := self._lines.get(flow_run_id):
            with contextlib.suppress(OSError):  # the run has ended, or does not read
                framing.send(line, messages.Suspended(state.model_dump(mode="json")).encode())
