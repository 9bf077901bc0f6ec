"""A server's API as far as a worker asks it about its runs, which may be away for some calls."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
from prefect.client.schemas import OrchestrationResult
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound

from prefect_prefork.recovery import crash_recovery
from prefect_prefork.recovery.journal import Journal
from prefect_prefork.recovery.reporting import Reporter
from prefect_prefork.recovery.state_report import StateReport

if TYPE_CHECKING:
    from pathlib import Path

LOGGER = logging.getLogger(__name__)
TAKEN = "Taken by the worker w."
AWAY = httpx.ConnectError("on purpose")


class Api:
    """Knows these runs, keeps what is set, and raises `AWAY` for the first `away` calls."""

    def __init__(self, *runs: FlowRun, away: int = 0) -> None:
        self.runs = {run.id: run for run in runs}
        self.away = away
        self.transitions: list[str] = []

    async def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        self._answer()
        if flow_run_id not in self.runs:
            raise ObjectNotFound(http_exc=AWAY)
        return self.runs[flow_run_id]

    async def set_flow_run_state(
        self,
        flow_run_id: UUID,
        state: State[Any],
        force: bool = False,  # noqa: FBT001, FBT002 - as Prefect's
    ) -> OrchestrationResult[Any]:
        end = StateReport.of(flow_run_id, state, force=force)
        return await self._set(flow_run_id, end.state)

    async def request(
        self, _method: str, _path: str, *, path_params: dict[str, UUID], json: Any
    ) -> httpx.Response:
        result = await self._set(path_params["id"], json["state"])
        return httpx.Response(200, content=result.model_dump_json())

    async def _set(self, flow_run_id: UUID, state: dict[str, Any]) -> OrchestrationResult[Any]:
        self._answer()
        if flow_run_id not in self.runs:
            raise ObjectNotFound(http_exc=AWAY)
        self.transitions.append(state["state_details"]["transition_id"])
        names = {"type": state["type"], "name": state["name"], "message": state["message"]}
        self.runs[flow_run_id].state = State.model_validate(names)
        result = {"state": names, "status": "ACCEPT", "details": {"type": "accept_details"}}
        return OrchestrationResult.model_validate(result)

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise AWAY

    def name(self, run: FlowRun) -> str | None:
        """Return the name of the state that the run is in."""
        state = self.runs[run.id].state
        return state.name if state else None


def run_in(state: State[Any], pid: str | None = None) -> FlowRun:
    return FlowRun(id=uuid4(), flow_id=uuid4(), state=state, infrastructure_pid=pid)


def reporter(api: Api) -> Reporter:
    return Reporter(api, "w", LOGGER)  # type: ignore[arg-type]


def settle(parent: Path, api: Api) -> None:
    """Do what a worker does at its start about the runs that dead workers have left."""

    async def start() -> None:
        journal = Journal(parent, LOGGER)
        await crash_recovery.settle(journal, api, reporter(api), LOGGER)  # type: ignore[arg-type]
        journal.close()

    asyncio.run(start())
