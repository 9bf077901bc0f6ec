"""States of runs that are kept on disk until the server has accepted them.

A run writes its final state to a file before it reports it, and removes the file when the server
has accepted the state. If the file is still there after the process has ended, in whatever way, the
worker reports the state in it, since the work was done.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import to_state_create

if TYPE_CHECKING:
    from pathlib import Path

    from prefect.client.schemas.objects import State

# The exit code of a run's process that could not begin because the server was away: EX_TEMPFAIL.
NOT_BEGUN = 75
# Besides internal errors, the answers of a server that may accept the same request later: it knows
# no login while it starts, or gets too many requests.
TRANSIENT = frozenset({401, 403, 408, 425, 429})
SERVER_ERROR = 500


def is_transient(error: BaseException) -> bool:
    """Return whether `error` is a temporary outage of the server, or of the network to it."""
    if isinstance(error, PrefectHTTPStatusError | httpx.HTTPStatusError):
        code = error.response.status_code
        return code >= SERVER_ERROR or code in TRANSIENT
    return isinstance(error, httpx.TransportError)


@dataclass(frozen=True)
class StateReport:
    """A state of a run that is to be reported, in the form that the API expects."""

    state: dict[str, Any]
    force: bool = False

    @classmethod
    def of(cls, flow_run_id: UUID, state: State[Any], *, force: bool = False) -> StateReport:
        """Add an id of the transition to `state`, so that reporting it twice does no harm."""
        create = to_state_create(state)
        create.state_details.flow_run_id = flow_run_id
        create.state_details.transition_id = uuid4()
        return cls(create.model_dump(mode="json", serialize_as_any=True), force)

    @classmethod
    def read(cls, path: Path) -> StateReport | None:
        """Read the file at `path`; None if there is none, or if a full disk has truncated it."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(dict(content["state"]), bool(content["force"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    @property
    def type(self) -> str:
        """The type of the state, such as `COMPLETED`."""
        return str(self.state["type"])

    @property
    def name(self) -> str:
        """The name of the state, as people see it."""
        return str(self.state.get("name") or self.type.title())

    def write(self, path: Path) -> None:
        """Write the file, completely or not at all.

        Raises:
            OSError: the disk is full or gone.
        """
        new = path.with_name(f"{path.name}.new")
        new.write_text(json.dumps({"state": self.state, "force": self.force}), encoding="utf-8")
        os.replace(new, path)  # noqa: PTH105 - already loaded in a fork
