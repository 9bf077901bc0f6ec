"""`prefect transfer`, mended; `scripts.transfer` runs it as a program of its own.

Prefect 3.9.1 counts what it skips as not done, and leaves out without a word whatever depends on
it. What exists on the other side is skipped, so nothing is carried that needs it: no block, since
the types of blocks are on every server, and no deployment of a work pool that is there. And a
deployment that exists is not skipped but overwritten, with its schedules, paused or not.
tests/unit/test_prefect_transfer.py fails when an upgrade of Prefect moves what is used here, or
mends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.cli import app
from prefect.cli.transfer import _commands
from prefect.cli.transfer._exceptions import TransferSkipped
from prefect.cli.transfer._migratable_resources.deployments import MigratableDeployment
from prefect.cli.transfer._migratable_resources.flows import MigratableFlow
from prefect.cli.transfer._migratable_resources.work_queues import MigratableWorkQueue
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

if TYPE_CHECKING:
    import uuid

    from prefect.cli.transfer._dag import TransferDAG
    from prefect.cli.transfer._migratable_resources.base import MigratableProtocol
    from rich.console import Console

WORKERS = 5  # as many at once as Prefect's own


async def execute_transfer(dag: TransferDAG, console: Console) -> dict[uuid.UUID, Any]:  # noqa: ARG001
    """Carry every node of `dag`, what it depends on first; for each, None or why it was not."""
    skipped: dict[uuid.UUID, Any] = {}

    async def carry(node: MigratableProtocol) -> None:
        try:
            await _refuse_twin(node, dag)
            await node.migrate()
        except TransferSkipped as error:
            if not _is_there(node):
                raise
            skipped[node.source_id] = error  # what depends on it can go on

    results = {**await dag.execute_concurrent(carry, max_workers=WORKERS), **skipped}
    for left in dag.nodes.keys() - results.keys():
        results[left] = TransferSkipped("What it depends on was skipped")
    return results


async def _refuse_twin(node: MigratableProtocol, dag: TransferDAG) -> None:
    if not isinstance(node, MigratableDeployment):
        return
    flow = dag.nodes[node.source_deployment.flow_id]
    assert isinstance(flow, MigratableFlow)  # noqa: S101 - it is its flow
    name = f"{flow.source_flow.name}/{node.source_deployment.name}"
    async with get_client() as client:
        try:
            node.destination_deployment = await client.read_deployment_by_name(name)
        except ObjectNotFound:
            return
    raise TransferSkipped("Already exists")


def _is_there(node: MigratableProtocol) -> bool:
    """Whether what was skipped is on the other side: a default queue comes with its pool."""
    queue = isinstance(node, MigratableWorkQueue) and node.source_work_queue.name == "default"
    return queue or node.destination_id is not None


if __name__ == "__main__":
    vars(_commands)[execute_transfer.__name__] = execute_transfer
    app()
