"""The worker type `prefork`."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.types._datetime import now
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from prefect_prefork import shutdown
from prefect_prefork.common import linux
from prefect_prefork.components import Components
from prefect_prefork.pickup.cached_reads import CachedReads
from prefect_prefork.pickup.early_runs import EarlyRuns
from prefect_prefork.pickup.event_polling import EventPolling
from prefect_prefork.recovery.journal import Journal
from prefect_prefork.recovery.reporting import StoppedError, only_cause
from prefect_prefork.recovery.state_report import is_transient
from prefect_prefork.runs.job import PreforkJobConfiguration, PreforkVariables
from prefect_prefork.runs.process import OnStarted
from prefect_prefork.shutdown import Shutdown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from uuid import UUID

    from prefect.client.schemas.objects import Flow, FlowRun, WorkPool
    from prefect.client.schemas.responses import DeploymentResponse, WorkerFlowRunResponse

    from prefect_prefork.pickup.intake import Intake

# The environment variable for the folder of the journals, which should be on a disk that flows do
# not fill.
JOURNAL_FOLDER = "PREFORK_JOURNAL_FOLDER"


class PreforkWorker(ProcessWorker):
    """Runs each flow run in a process of its own, forked from one that has Prefect imported."""

    type = "prefork"
    job_configuration = PreforkJobConfiguration
    job_configuration_variables = PreforkVariables  # type: ignore[assignment]
    _description = (
        "Execute flow runs as processes that are forked from a warm one, which start in a fraction"
        " of a second."
    )
    _display_name = "Prefork"
    _documentation_url = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._components = Components(self._logger)
        self._event_polling = EventPolling(self._poll_now, self._is_full, self._logger)
        self._polling = asyncio.Lock()
        self._early_runs = EarlyRuns(self._submit_held)
        self._taken: set[UUID] = set()
        self._again: set[UUID] = set()  # the runs in `_taken` that a poll has returned once more
        self._run_once = False
        self._shutdown = Shutdown(self._logger)
        self._strays = linux.Strays()
        self._logged: set[str] = set()
        self._flows: dict[UUID, Flow] = {}
        self._event_polling_task: asyncio.Task[None] | None = None

    # Starting and stopping

    async def start(
        self,
        run_once: bool = False,  # noqa: FBT001, FBT002
        with_healthcheck: bool = False,  # noqa: FBT001, FBT002
        printer: Callable[..., None] = print,
    ) -> None:
        """Work until a signal stops the worker."""
        self._shutdown.listen()
        self._run_once = run_once
        stop = self._shutdown.carry_out(
            lambda: self._submitting_flow_run_ids | self._taken,
            self._polling.locked,
            self._components.cancel_all,
            lambda left: self._components.shared.report_cancelled(left, shutdown.MESSAGE),
        )
        await shutdown.until_one_ends(super().start(run_once, with_healthcheck, printer), stop)

    async def setup(self) -> None:
        """Prepare what all runs share, and begin to report the runs that a dead worker has left."""
        await super().setup()
        if not linux.supported():
            self._log_once("Runs are started as subprocesses: forks need Linux and its pidfds.")
            self._start_event_polling()
            return
        linux.adopt_orphans()
        folder = os.environ.get(JOURNAL_FOLDER) or get_current_settings().home / ".prefork"
        journal = Journal(Path(folder) / self.get_name_slug(), self._logger)
        try:
            await self._components.open(
                journal, self.name, self._mark_flow_run_as_cancelled, self._log_once
            )
            self._start_event_polling()
            await self._warm()
        except BaseException:
            # `__aexit__` does not run when `__aenter__` raises.
            await self.teardown(*sys.exc_info())
            raise

    async def teardown(self, *exc_info: Any) -> None:
        """Release what `setup` has acquired."""
        self._early_runs.close()
        self._components.stop_reporting()
        if self._event_polling_task:
            self._event_polling_task.cancel()
        if self._shutdown.requested:
            exc_info = (None, None, None)  # with an error, Prefect would cancel what still runs
        try:
            await self._shutdown.close(functools.partial(super().teardown, *exc_info))
        finally:
            await self._components.close(self._shutdown.close)

    async def _initialize_after_sync(self) -> None:
        await super()._initialize_after_sync()
        if linux.supported():
            self._strays.reap()
        if self.is_setup:
            self._start_event_polling()

    def _start_event_polling(self) -> None:
        """Begin to poll on events, if the work pool is known; call it when runs can be taken."""
        if self._work_pool and self._event_polling_task is None:
            self._event_polling_task = asyncio.create_task(
                self._event_polling.run(self._work_pool.id)
            )

    def _record_work_pool_snapshot(self, work_pool: WorkPool) -> None:
        """Accept a work pool of the type `process` too, since we support all its job variables."""
        ours = work_pool.type in (ProcessWorker.type, self.type)
        kind = self.type if ours else work_pool.type
        super()._record_work_pool_snapshot(work_pool.model_copy(update={"type": kind}))

    async def _warm(self) -> None:
        """Start a template for the runs that have no settings of their own."""
        if self._work_pool is None:
            return
        try:
            configuration: Any = await self.job_configuration.from_template_and_values(
                base_job_template=self._work_pool.base_job_template, values={}, client=self.client
            )
            directory = configuration.working_dir or Path("/")
            await self._components.templates.warm(configuration.job(None, directory).kind())
        except Exception as error:  # noqa: BLE001 - a run that needs it reports the cause
            self._logger.warning("No template could be started yet: %s", error)

    # Picking up runs

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Poll once, after any poll that is still going on."""
        async with self._polling:
            if self._shutdown.requested:
                # Without this, the health check would report that polling is stuck.
                self._last_polled_time = now("UTC")
                return []
            self._components.check()
            try:
                flow_runs = await super().get_and_submit_flow_runs()
            except Exception as error:
                if not is_transient(error):
                    raise
                # Prefect's own worker ends after a few failures, and its runs end with it. Ours
                # waits, while its health check reports that it does not poll.
                self._logger.warning("The server could not be asked for work: %r", error)
                return []
            self._event_polling.polled()
            return flow_runs

    async def _sync_and_initialize(self) -> None:
        try:
            await super()._sync_and_initialize()
        except Exception as error:
            if not self.is_setup or not is_transient(error):
                raise
            self._logger.warning("The heartbeat of the worker could not be sent: %r", error)

    async def _poll_now(self) -> Collection[UUID]:
        await self.get_and_submit_flow_runs()
        return {*self._submitting_flow_run_ids, *self._taken, *self._early_runs.flow_run_ids}

    def _is_full(self) -> bool:
        limit = self._work_pool.concurrency_limit if self._work_pool else None
        if self._limiter and not self._limiter.available_tokens:
            return True
        return limit is not None and len(self._submitting_flow_run_ids | self._taken) >= limit

    async def _submit_scheduled_flow_runs(
        self, flow_run_response: list[WorkerFlowRunResponse]
    ) -> list[FlowRun]:
        """Submit the runs that are due, and hold the others until shortly before their time."""
        new = []
        for entry in flow_run_response:
            if entry.flow_run.id in self._taken:  # resumed or retried while its process is ending
                self._again.add(entry.flow_run.id)
            else:
                new.append(entry)
        due = self._early_runs.due(new, at_once=self._run_once)
        return await super()._submit_scheduled_flow_runs(due)

    async def _submit_held(self, entry: WorkerFlowRunResponse) -> None:
        if not self._shutdown.requested:  # otherwise it stays Scheduled, for the next worker
            await super()._submit_scheduled_flow_runs([entry])

    async def _submit_run(self, flow_run: FlowRun) -> None:
        """Take `flow_run` from Scheduled to its end, with fewer requests than Prefect's worker."""
        intake = self._components.intake
        if intake is None:
            await super()._submit_run(flow_run)
            return
        self._taken.add(flow_run.id)
        try:
            deployment = await intake.take(flow_run, self.get_flow_run_logger(flow_run))
            if deployment is not None:
                await self._execute(flow_run, deployment, intake)
            intake.journal.remove(flow_run.id)  # not before its hooks have run
        except StoppedError as what:
            self._logger.warning("%s: left to the next start of the worker.", what)
        except Exception:  # if it were raised here, it would end all runs of the worker
            self._logger.exception("Flow run '%s' is left to the next start.", flow_run.id)
        finally:
            self._taken.discard(flow_run.id)
            self._release_limit_slot(flow_run.id)
            self._submitted(flow_run)
            self._event_polling.ended(wanted=flow_run.id in self._again)
            self._again.discard(flow_run.id)

    def _submitted(self, flow_run: FlowRun) -> None:
        """Stop tracking the run as one that is being submitted."""
        self._submitting_flow_run_ids.discard(flow_run.id)
        if self._cancelling_observer is not None:
            self._cancelling_observer.remove_in_flight_flow_run_id(flow_run.id)

    async def _execute(
        self, flow_run: FlowRun, deployment: DeploymentResponse, intake: Intake
    ) -> None:
        logger = self.get_flow_run_logger(flow_run)
        try:
            configuration = await self.job_configuration.resolve_for_flow_run(
                flow_run,
                client=CachedReads(self.client, self._flows),  # type: ignore[arg-type]
                work_pool=self.work_pool.model_copy(deep=True),
                worker_name=self.name,
                worker_id=self.backend_id,
                deployment=deployment,
            )
            submitted = self._emit_flow_run_submitted_event(configuration)
            async with anyio.create_task_group() as tasks:
                started = OnStarted[int](
                    lambda pid: tasks.start_soon(self._report_started, flow_run, pid)
                )
                result = await self.run(flow_run, configuration, started)
        except Exception as error:
            cause = only_cause(error)
            if isinstance(cause, StoppedError):
                raise cause from None
            logger.exception("Failed to submit flow run '%s' to infrastructure.", flow_run.name)
            message = (
                f"Failed to submit flow run to infrastructure: {type(cause).__name__}: {cause}"
            )
            await intake.not_started(flow_run, cause, message)
            return
        if submitted:
            self._emit_flow_run_executed_event(result, configuration, submitted)

    async def _report_started(self, flow_run: FlowRun, pid: int) -> None:
        """Tell the server which worker and process have the run; the run does not wait for it."""
        logger = self.get_flow_run_logger(flow_run)
        logger.info("Flow run '%s' submitted to infrastructure", flow_run.name)
        try:
            await self.client.update_flow_run(flow_run.id, infrastructure_pid=str(pid))
            await self._give_worker_labels_to_flow_run(flow_run.id)
        except ObjectNotFound:
            logger.debug("Flow run '%s' was deleted while it started", flow_run.id)
        except Exception:
            logger.exception("The server could not be told in which process the run is")
        self._submitted(flow_run)

    # Running

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Run `flow_run` to its end, in a fork or, if that is not possible, in a subprocess."""
        assert isinstance(configuration, PreforkJobConfiguration)  # noqa: S101
        if self._components.execution is None:
            return await super().run(flow_run, configuration, task_status)
        return await self._components.execution.run(flow_run, configuration, task_status)

    def _log_once(self, message: str) -> None:
        if message not in self._logged:
            self._logged.add(message)
            self._logger.info(message)
