"""In the fork: a run that has ended stays ended, whatever becomes of the server meanwhile."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prefect.exceptions import Abort, Pause
from prefect.settings import get_current_settings

from prefect_prefork import upstream
from prefect_prefork.recovery.ends import End, passes

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Iterator, MutableMapping
    from uuid import UUID

    import httpx
    from prefect.client.schemas.objects import State

# The variable by which the worker names the file; the fork takes it out of its environment.
VARIABLE = "PREFECT__PREFORK_END"


class Ending:
    """Writes the last state of one run to a file before it is reported.

    When the server cannot be reached, the file stays and the run's process ends all the same: the
    worker reports what the file holds, for as long as it takes.
    """

    def __init__(
        self,
        flow_run_id: UUID,
        environment: MutableMapping[str, str],
        logger: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        """Of a run whose worker has named the file in `environment`."""
        name = environment.pop(VARIABLE, None)
        self._flow_run_id = flow_run_id
        self._path = Path(name) if name else None
        self._logger = logger
        self._ended: State[Any] | None = None  # being reported
        self._begun = False
        self.could_not_begin = False

    def take_over(self) -> None:
        """Have the engine propose the states of the run by this."""
        upstream.replace_proposals(self._propose, self._apropose)

    @contextlib.contextmanager
    def beginning(self) -> Iterator[None]:
        """Note an outage of the server that keeps the run from its first line."""
        try:
            yield
        except Exception as error:
            self.could_not_begin = not self._begun and passes(error) and _is_of_the_api(error)
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
            return self._note(propose(client, state, flow_run_id=flow_run_id, force=force))
        if self._ended is not None:  # told to end while it reports: the work is done all the same
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
            return self._note(await propose(client, state, flow_run_id=flow_run_id, force=force))
        if self._ended is not None:
            return self._ended
        with self._reporting(state, force=force):
            return await propose(client, state, flow_run_id=flow_run_id, force=force)
        return state

    def _note(self, state: State[Any]) -> State[Any]:
        self._begun = self._begun or state.is_running()
        return state

    @contextlib.contextmanager
    def _reporting(self, state: State[Any], *, force: bool) -> Iterator[None]:
        """Keep `state` in the file until the server has answered; no error when it is away."""
        self._ended = state
        written = self._write(state, force=force)
        try:
            yield
        except (Abort, Pause):  # the server has decided otherwise
            self._forget()
            raise
        except Exception as error:
            if not written or not passes(error):
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
            End.of(self._flow_run_id, state, force=force).write(self._path)
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
    """Whether it was Prefect's server that was asked, and not another that the flow needs."""
    try:
        asked = str(cast("httpx.HTTPError", error).request.url)
    except RuntimeError:  # it does not say what was asked
        return True
    return asked.startswith(get_current_settings().api.url or "")
