"""Proposes the states of a run from the fork, and keeps the final one if the server is away."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prefect.exceptions import Abort, Pause
from prefect.settings import get_current_settings

from prefect_prefork import upstream
from prefect_prefork.recovery.state_report import StateReport, is_transient

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Iterator, MutableMapping
    from uuid import UUID

    import httpx
    from prefect.client.schemas.objects import State

# The worker names the file for the final state in this variable, which the fork then removes.
VARIABLE = "PREFECT__PREFORK_END"


class Proposals:
    """Proposes the states of one run, and writes its final state to a file beforehand.

    If the server cannot be reached, the file stays and the process of the run still ends. The
    worker then reports the state in the file, however long that takes.
    """

    def __init__(
        self,
        flow_run_id: UUID,
        environment: MutableMapping[str, str],
        logger: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        """Take the path of the file out of `environment`."""
        name = environment.pop(VARIABLE, None)
        self._flow_run_id = flow_run_id
        self._path = Path(name) if name else None
        self._logger = logger
        self._ended: State[Any] | None = None  # the final state, while it is reported
        self._begun = False
        self.could_not_begin = False

    def take_over(self) -> None:
        """Make the engine propose the states of the run through this object."""
        upstream.replace_proposals(self._propose, self._apropose)

    @contextlib.contextmanager
    def watch_for_outage(self) -> Iterator[None]:
        """Set `could_not_begin` if an outage of the server keeps the flow from beginning."""
        try:
            yield
        except Exception as error:
            self.could_not_begin = not self._begun and is_transient(error) and _is_of_the_api(error)
            raise

    def _propose(
        self,
        propose: Callable[..., State[Any]],
        client: Any,
        state: State[Any],
        flow_run_id: UUID,
        force: bool = False,  # noqa: FBT001, FBT002 - as Prefect's
    ) -> State[Any]:
        if flow_run_id != self._flow_run_id or not state.is_final():
            return self._note_begin(propose(client, state, flow_run_id=flow_run_id, force=force))
        if self._ended is not None:  # it is cancelled while it reports, but its work is done
            return self._ended
        with self._reporting(state, force=force):
            return propose(client, state, flow_run_id=flow_run_id, force=force)
        return state

    async def _apropose(
        self,
        propose: Callable[..., Awaitable[State[Any]]],
        client: Any,
        state: State[Any],
        flow_run_id: UUID,
        force: bool = False,  # noqa: FBT001, FBT002 - as Prefect's
    ) -> State[Any]:
        if flow_run_id != self._flow_run_id or not state.is_final():
            return self._note_begin(
                await propose(client, state, flow_run_id=flow_run_id, force=force)
            )
        if self._ended is not None:
            return self._ended
        with self._reporting(state, force=force):
            return await propose(client, state, flow_run_id=flow_run_id, force=force)
        return state

    def _note_begin(self, state: State[Any]) -> State[Any]:
        self._begun = self._begun or state.is_running()
        return state

    @contextlib.contextmanager
    def _reporting(self, state: State[Any], *, force: bool) -> Iterator[None]:
        """Keep `state` in the file until the server has answered; suppress errors of an outage."""
        self._ended = state
        written = self._write(state, force=force)
        try:
            yield
        except (Abort, Pause):  # the server has rejected the state
            self._forget()
            raise
        except Exception as error:
            if not written or not is_transient(error):
                self._forget()
                raise
            self._logger.warning(
                "The server cannot be reached (%r). The worker reports that this run is %s when the"
                " server is back.",
                *(error, state.name),
            )
        else:
            self._forget()

    def _write(self, state: State[Any], *, force: bool) -> bool:
        if self._path is None:
            return False
        try:
            StateReport.of(self._flow_run_id, state, force=force).write(self._path)
        except OSError as error:
            self._logger.debug("The end of the run could not be written down: %s", error)
            return False
        return True

    def _forget(self) -> None:
        self._ended = None
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


def _is_of_the_api(error: BaseException) -> bool:
    """Return whether the failed request was sent to Prefect's API, not to another server."""
    try:
        url = str(cast("httpx.HTTPError", error).request.url)
    except RuntimeError:  # the error has no request
        return True
    return url.startswith(get_current_settings().api.url or "")
