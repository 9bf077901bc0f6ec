"""Locks between flow runs, which the server grants to one run at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import VariableCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.runtime import flow_run

# Between two attempts, other runs may release the lock, acquire it and release it again.
ATTEMPTS = 4


@contextmanager
def lock(name: str) -> Iterator[bool]:
    """Yield True in the one flow run that acquires the lock `name`, False in all others.

    It does not wait for the lock. The lock is a Prefect variable whose value is the id of the run
    that holds it, and the database allows no second variable of the same name. It is released at
    the end of the `with` block. If a run ended without releasing it, whatever its final state, the
    next run that asks acquires it. After a worker has died, that is the case once the server has
    marked its runs as Crashed.

    A concurrency limit would do the same, but the server keeps the holders of its slots in memory:
    slots that are held while it restarts are never free again.

    Args:
        name: Lower-case letters, digits, `-` and `_`. The lock belongs to the flow run as a whole,
            so two tasks of one run must not use the same name.

    Raises:
        RuntimeError: The call is not made in a run.
    """
    if flow_run.id is None:
        raise RuntimeError("lock: expected a call in a flow or a task, found no flow run")
    acquired = None
    with get_client(sync_client=True) as client:
        for _ in range(ATTEMPTS):
            acquired = _acquire(client, name, flow_run.id)
            if acquired or _is_held(client, name, flow_run.id):
                break
    try:
        yield acquired is not None
    finally:
        if acquired:
            with get_client(sync_client=True) as client:
                _remove(client, acquired)


def _acquire(client: SyncPrefectClient, name: str, run_id: str) -> UUID | None:
    """Create the variable and return its id; None if it exists already."""
    try:
        return client.create_variable(VariableCreate(name=name, value=run_id)).id
    except ObjectAlreadyExists:
        return None


def _is_held(client: SyncPrefectClient, name: str, run_id: str) -> bool:
    """Return whether another run that has not ended holds the lock; remove a stale lock."""
    variable = client.read_variable_by_name(name)
    if variable is None:
        return False
    if variable.value != run_id:  # otherwise an earlier attempt of this run has left it
        try:
            state = client.read_flow_run(UUID(str(variable.value))).state
        except (ObjectNotFound, ValueError):
            state = None
        if state and not state.is_final():
            return True
    # Remove it by id, so as not to remove the lock of a run that has acquired it since.
    _remove(client, variable.id)
    return False


def _remove(client: SyncPrefectClient, variable_id: UUID) -> None:
    try:
        client.request("DELETE", "/variables/{id}", path_params={"id": variable_id})
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.NOT_FOUND:
            raise  # 404 means that another run has removed it first
