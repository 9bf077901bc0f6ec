"""Takes runs: proposes Pending and reads what a run needs; gives back a run that cannot begin."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from prefect.exceptions import Abort, ObjectNotFound
from prefect.states import Pending
from prefect.utilities.engine import propose_state

from prefect_prefork.recovery.reporting import why_not_started

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.client.schemas.responses import DeploymentResponse

    from prefect_prefork.pickup.cached_reads import ResultStorage
    from prefect_prefork.recovery.journal import Journal
    from prefect_prefork.recovery.reporting import Reporter

    Logger = logging.Logger | logging.LoggerAdapter[Any]


@dataclass(frozen=True)
class Intake:
    """Takes the runs of one worker."""

    client: PrefectClient
    journal: Journal
    reporter: Reporter
    storage: ResultStorage
    cancel: Callable[[FlowRun, dict[str, Any]], Awaitable[None]]  # reports a run as Cancelled

    async def take(self, flow_run: FlowRun, logger: Logger) -> DeploymentResponse | None:
        """Make the run Pending; return its deployment, or None if it is not to run.

        Raises:
            StoppedError: the worker stops before the outcome is known.
        """
        try:
            self.journal.take(flow_run.id, flow_run.infrastructure_pid)
        except OSError as error:  # the run stays Scheduled, and the next poll returns it
            logger.warning("No run is taken, since it could not be written down: %s", error)
            return None
        state, deployment, _ = await asyncio.gather(
            self._propose_pending(flow_run),
            self._read_deployment(flow_run),
            self.storage.read(self.client),  # fills the cache, since the run needs it soon
            return_exceptions=True,
        )
        if isinstance(deployment, ObjectNotFound):
            message = f"Deployment {flow_run.deployment_id} no longer exists, cancelled run."
            logger.error(message)
            await self.cancel(flow_run, {"message": message})
        elif isinstance(state, BaseException):
            await self._not_pending(flow_run, state, logger)
        elif not state.is_pending():
            logger.info(
                "Aborted submission of flow run '%s': Server returned a non-pending state %r",
                *(flow_run.id, state.type.value),
            )
        elif isinstance(deployment, BaseException):
            message = f"The deployment of the run could not be read: {deployment}"
            await self.not_started(flow_run, deployment, message)
        else:
            flow_run.state = state
            return cast("DeploymentResponse", deployment)
        return None

    async def not_started(self, flow_run: FlowRun, error: BaseException, message: str) -> None:
        """Give back a run that could not be started, or report it as Crashed if a retry is useless.

        Raises:
            StoppedError: the worker stops before the server has accepted that.
        """
        entry = self.journal.entry(flow_run.id)
        reason = why_not_started(error)
        if reason and await self.reporter.give_back(entry, reason):
            return
        with contextlib.suppress(Abort):  # the run has ended in another way
            await self.reporter.crashed(entry, message)

    async def _not_pending(self, flow_run: FlowRun, error: BaseException, logger: Logger) -> None:
        """Handle a failed proposal of Pending, which the server may have accepted after all."""
        if isinstance(error, Abort):
            logger.info("Aborted submission of flow run '%s'. %s", flow_run.id, error)
            return
        logger.error("Failed to update state of flow run '%s'", flow_run.id, exc_info=error)
        if reason := why_not_started(error):
            await self.reporter.give_back(self.journal.entry(flow_run.id), reason)

    async def _propose_pending(self, flow_run: FlowRun) -> State[Any]:
        pending: State[Any] = Pending(message=self.reporter.taken_message)
        return await propose_state(self.client, pending, flow_run_id=flow_run.id)

    async def _read_deployment(self, flow_run: FlowRun) -> DeploymentResponse:
        if flow_run.deployment_id is None:  # the API accepts such runs
            raise ValueError("Flow run does not have an associated deployment")
        return await self.client.read_deployment(flow_run.deployment_id)
