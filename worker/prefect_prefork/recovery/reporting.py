"""Reports the ends of runs, and retries until the server has accepted them."""

from __future__ import annotations

import asyncio
import errno
import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from prefect.client.schemas import OrchestrationResult
from prefect.exceptions import Abort, ObjectNotFound
from prefect.states import Crashed, Scheduled
from prefect.types._datetime import now
from prefect.utilities.engine import propose_state

from prefect_prefork.recovery.state_report import NOT_BEGUN, StateReport, is_transient
from prefect_prefork.runs.template_process import TemplateError
from prefect_prefork.upstream import StateProposer

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, State

    from prefect_prefork.recovery.journal import Entry, Journal
    from prefect_prefork.upstream import ProcessHandle

T = TypeVar("T")

FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.5, 15  # between two attempts
LONGEST_SECONDS = 24 * 60 * 60  # after that, other means have to handle a lost run
# A run that is given back is scheduled after this delay, which doubles each time.
RETURN_SECONDS, MAX_RETURN_SECONDS = 2, 60


class StoppedError(Exception):
    """The worker stops; what is not reported yet stays in the journal for the next start."""


class Reporter:
    """Reports the ends of the runs of one worker."""

    def __init__(
        self,
        client: PrefectClient,
        worker_name: str,
        logger: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        self._client = client
        self._logger = logger
        self._returns: Counter[UUID] = Counter()
        self._stopped = asyncio.Event()
        self.worker_name = worker_name
        self.taken_message = f"Taken by the worker {worker_name}."

    def stop(self) -> None:
        """Stop waiting for the server: all callers that wait for it get a `StoppedError`."""
        self._stopped.set()

    async def insist(self, what: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what `ask` returns; retry as long as the server is away.

        Raises:
            StoppedError: the worker stops.
            Exception: the server has answered with a permanent error, or a day has passed.
        """
        wait, began, logged = float(FIRST_RETRY_SECONDS), time.monotonic(), False
        while True:
            try:
                return await ask()
            except Exception as error:
                if not is_transient(error) or time.monotonic() - began > LONGEST_SECONDS:
                    raise
                if not logged:
                    self._logger.warning("%s: the server is away (%r), trying again.", what, error)
                logged = True
            try:
                async with asyncio.timeout(wait):
                    await self._stopped.wait()
            except TimeoutError:
                wait = min(2 * wait, MAX_RETRY_SECONDS)
            else:
                raise StoppedError(what)

    async def end(self, entry: Entry, end: StateReport) -> State[Any] | None:
        """Report `end`, unless the server already knows that the run has ended.

        Return the resulting state of the run; None if it was deleted.
        """
        flow_run_id = entry.flow_run_id
        self._keep(entry, end)
        what = f"Reporting flow run '{flow_run_id}' as {end.name}"
        try:
            flow_run = await self.insist(what, lambda: self._client.read_flow_run(flow_run_id))
            state = flow_run.state
            # Crashed may be wrong, since the server may have missed heartbeats during the outage.
            if state and state.is_final() and not (state.is_crashed() and end.type != "CRASHED"):
                return state
            return await self.insist(what, lambda: self._set(flow_run_id, end))
        except ObjectNotFound:
            return None

    async def crashed(self, entry: Entry, message: str) -> State[Any] | None:
        """Report a run as Crashed; return its resulting state, None if it was deleted.

        Raises:
            Abort: the server rejects the state, because the run has ended in another way.
        """
        crashed: State[Any] = Crashed(message=message)
        what = f"Reporting flow run '{entry.flow_run_id}' as Crashed"
        try:
            return await propose_state(self._client, crashed, flow_run_id=entry.flow_run_id)
        except ObjectNotFound:
            return None
        except Exception as error:
            if not is_transient(error):
                raise
            self._logger.warning("%s: the server is away (%r), trying again.", what, error)
        return await self.end(entry, StateReport.of(entry.flow_run_id, crashed))

    async def give_back(self, entry: Entry, reason: Return) -> bool:
        """Reschedule a run that was taken and has not begun.

        A run that was given back too often is reported as Crashed. Return False if nothing was
        done, because the run has begun, or no longer belongs to this worker.
        """
        flow_run_id = entry.flow_run_id
        what = f"Giving flow run '{flow_run_id}' back"
        try:
            flow_run = await self.insist(what, lambda: self._client.read_flow_run(flow_run_id))
            if not self.is_taken(flow_run):
                return False
            self._returns[flow_run_id] += 1
            times = self._returns[flow_run_id]
            if times > reason.most:
                await self.crashed(entry, f"{reason.why} It was tried {times} times.")
                return True
            wait = min(MAX_RETURN_SECONDS, RETURN_SECONDS * 2 ** (times - 1))
            scheduled: State[Any] = Scheduled(
                scheduled_time=now("UTC") + timedelta(seconds=wait),
                message=f"{reason.why} The run has not begun, and is tried again.",
            )
            end = StateReport.of(flow_run_id, scheduled)
            await self.insist(what, lambda: self._set(flow_run_id, end))
        except (ObjectNotFound, Abort):  # the run was deleted, or belongs to another worker by now
            pass
        return True

    def is_taken(self, flow_run: FlowRun) -> bool:
        """Return whether a run is Pending because a worker of this name has taken it."""
        state = flow_run.state
        return bool(state and state.is_pending() and state.message == self.taken_message)

    def begun(self, flow_run_id: UUID) -> None:
        """Reset the count of how often the run was given back, since it has begun."""
        self._returns.pop(flow_run_id, None)

    def _keep(self, entry: Entry, end: StateReport) -> None:
        if entry.end is not None:
            return
        try:
            entry.write_end(end)
        except OSError as error:
            self._logger.warning("The end of a run could not be written down: %s", error)

    async def _set(self, flow_run_id: UUID, end: StateReport) -> State[Any]:
        """Set a state like Prefect's client, but with the same transition id at each attempt."""
        body = {"state": end.state, "force": end.force}
        while True:
            response = await self._client.request(
                "POST", "/flow_runs/{id}/set_state", path_params={"id": flow_run_id}, json=body
            )
            result: OrchestrationResult[Any] = OrchestrationResult.model_validate(response.json())
            if (wait := getattr(result.details, "delay_seconds", None)) is None:
                break
            await anyio.sleep(wait)
        if result.state is None:
            raise Abort(getattr(result.details, "reason", "the server does not say why"))
        return result.state


@dataclass(frozen=True)
class Return:
    """The reason for which a run is given back, and how often it may be."""

    why: str
    most: int = 10


SERVER_AWAY = Return("The server could not be reached when the run was to begin.")
# Shortages that end when other processes release something, and errors of a disk, which may end.
SHORTAGES = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.EIO}
)


def why_not_started(error: BaseException) -> Return | None:
    """Return why to give back a run that could not be started; None if a retry would fail too."""
    if is_transient(error):
        return SERVER_AWAY
    if isinstance(error, OSError) and error.errno in SHORTAGES:
        return Return(f"No process could be started for the run: {error}.")
    if isinstance(error, TemplateError):
        return Return(f"No process could be started for the run: {error}.", most=3)
    return None


def only_cause(error: Exception) -> Exception:
    """Return the error that task groups have wrapped, if there is only one."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


class Proposer(StateProposer):
    """Replaces Prefect's proposer, which tries only once to report a state."""

    def __init__(self, client: PrefectClient, reporter: Reporter, journal: Journal) -> None:
        super().__init__(client=client)
        self._reporter = reporter
        self._journal = journal
        self._attempts: dict[UUID, Attempt] = {}

    def watch(self, attempt: Attempt) -> None:
        """Take `attempt` into account when its run is reported."""
        self._attempts[attempt.flow_run_id] = attempt

    def forget(self, flow_run_id: UUID) -> None:
        """Drop the attempt of this run."""
        self._attempts.pop(flow_run_id, None)

    async def propose_crashed(self, flow_run: FlowRun, message: str) -> State[Any] | None:
        """Report the final state that the process has written, or else that it has crashed."""
        entry = self._journal.entry(flow_run.id)
        attempt = self._attempts.get(flow_run.id)
        try:
            if end := entry.end:
                return await self._reporter.end(entry, end)
            reason = attempt.why_not_begun() if attempt else None
            if reason and await self._reporter.give_back(entry, reason):
                return None
            problem = attempt.problem if attempt else None
            return await self._reporter.crashed(entry, problem or message)
        except Abort as abort:
            self._logger.debug("Flow run '%s' has ended in another way: %s", flow_run.id, abort)
            return None

    async def propose_cancelled(
        self, flow_run: FlowRun, state_updates: dict[str, Any] | None = None
    ) -> bool:
        """Report a run as Cancelled, however long that takes."""
        report = super().propose_cancelled
        what = f"Reporting flow run '{flow_run.id}' as Cancelled"
        return await self._reporter.insist(what, lambda: report(flow_run, state_updates))


class Attempt:
    """What is known about one process of a run."""

    def __init__(self, flow_run_id: UUID) -> None:
        self.flow_run_id = flow_run_id
        self.handle: ProcessHandle | None = None
        self.error: Exception | None = None
        self.problem: str | None = None  # the reason for its end that the process itself gave

    def why_not_begun(self) -> Return | None:
        """Return why the flow has probably not begun, if a retry may succeed; otherwise None."""
        if self.handle is None:
            return why_not_started(self.error) if self.error else None
        code = self.handle.returncode
        if code == NOT_BEGUN:
            return SERVER_AWAY
        if code is not None and code < 0:
            return Return(f"The process of the run was ended by signal {-code}.", most=3)
        return None
