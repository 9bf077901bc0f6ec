"""Work that only one flow run may be at, decided by the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import VariableCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.runtime import flow_run

# One more than the rounds in which a turn can be left, taken and left again without us.
ROUNDS = 4


@contextmanager
def turn(name: str) -> Iterator[bool]:
    """Whether the present flow run has the turn `name`: of those that ask at once, one has.

    A turn is a Prefect variable, whose value is the id of the run that has it: the database lets
    no second variable have its name. It is given back at the end of the `with` block. A run that
    ended without giving it back, whatever its state, has it no longer: the next that asks takes
    over. So does the next after a run whose worker died, once the server has it as Crashed.

    A concurrency limit would do the same, but the server keeps in memory who holds its slots: those
    that are held while it restarts are never free again.

    Args:
        name: Lower-case letters, digits, `-` and `_`. A run has a turn once: no two of its tasks
            ask for the same.

    Raises:
        RuntimeError: not called in a run.
    """
    if flow_run.id is None:
        raise RuntimeError("turn: expected a call in a flow or a task, found no flow run")
    taken = None
    with get_client(sync_client=True) as client:
        for _ in range(ROUNDS):
            taken = _take(client, name, flow_run.id)
            if taken or _held(client, name, flow_run.id):
                break
    try:
        yield taken is not None
    finally:
        if taken:
            with get_client(sync_client=True) as client:
                _remove(client, taken)


def _take(client: SyncPrefectClient, name: str, run_id: str) -> UUID | None:
    """The id of the variable, made by the run; None when there was one."""
    try:
        return client.create_variable(VariableCreate(name=name, value=run_id)).id
    except ObjectAlreadyExists:
        return None


def _held(client: SyncPrefectClient, name: str, run_id: str) -> bool:
    """Whether another run that goes on has the turn; a turn that nobody has is removed."""
    variable = client.read_variable_by_name(name)
    if variable is None:
        return False
    if variable.value != run_id:  # else it is left from an earlier attempt of this very run
        try:
            state = client.read_flow_run(UUID(str(variable.value))).state
        except (ObjectNotFound, ValueError):
            state = None
        if state and not state.is_final():
            return True
    # By its id, so that a turn that yet another run has taken since is left alone.
    _remove(client, variable.id)
    return False


def _remove(client: SyncPrefectClient, variable_id: UUID) -> None:
    try:
        client.request("DELETE", "/variables/{id}", path_params={"id": variable_id})
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.NOT_FOUND:
            raise  # else another has removed it first
