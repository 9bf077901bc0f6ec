"""The work pool that the worker polls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from server.bootstrap.change import Change
from server.errors import MistakeError
from server.place import WORK_POOL

if TYPE_CHECKING:
    from pathlib import Path

    from prefect.client.orchestration import SyncPrefectClient

KIND = "work pool"
TYPE = "process"
COMMAND = "python -m prefect.engine"


def plan(client: SyncPrefectClient, concurrency: int, worker_root: Path) -> list[Change]:
    """What makes the pool exist with `concurrency`, its runs started in `worker_root`.

    Raises:
        MistakeError: a pool of that name is there with another type, which cannot be changed.
    """
    template = job_template(worker_root)
    try:
        live = client.read_work_pool(WORK_POOL)
    except ObjectNotFound:
        pool = WorkPoolCreate(
            name=WORK_POOL,
            type=TYPE,
            base_job_template=template,
            concurrency_limit=concurrency,
        )
        return [Change("create", KIND, WORK_POOL, apply=lambda: _create(client, pool))]
    if live.type != TYPE:
        raise MistakeError(
            f"the work pool {WORK_POOL!r} is of another type",
            expected=TYPE,
            found=live.type,
            do=f"prefect work-pool delete {WORK_POOL}, then bootstrap again",
        )
    fields: dict[str, Any] = {}
    if live.concurrency_limit != concurrency:
        fields["concurrency_limit"] = concurrency
    if live.base_job_template != template:
        fields["base_job_template"] = template
    if not fields:
        return [Change("unchanged", KIND, WORK_POOL)]
    update = WorkPoolUpdate(**fields)
    return [
        Change(
            "update",
            KIND,
            WORK_POOL,
            details=tuple(fields),
            apply=lambda: client.update_work_pool(WORK_POOL, update),
        )
    ]


def job_template(worker_root: Path) -> dict[str, Any]:
    """The stock template, with the folder that holds `flows/` as the default to run in.

    And with a command: without one, the worker starts an interpreter that reads the deployment and
    then another that runs it, which costs every run a second and a half.
    """
    template = ProcessWorker.get_default_base_job_template()
    variables = template["variables"]["properties"]
    variables["working_dir"]["default"] = str(worker_root)
    variables["command"]["default"] = COMMAND
    return template


def _create(client: SyncPrefectClient, pool: WorkPoolCreate) -> None:
    client.create_work_pool(pool)
