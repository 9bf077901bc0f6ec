"""`prefect transfer` with two faults fixed; `scripts.transfer` runs it as a program of its own.

Prefect 3.9.1 skips what already exists on the other server, but treats it as not done, and silently
leaves out everything that depends on it: every block, since the block types are on every server,
and every deployment of a work pool that exists. And it does not skip an existing deployment but
overwrites it together with its schedules, paused or not. tests/unit/test_prefect_transfer.py fails
when an upgrade of Prefect fixes this, or moves the private parts that are used here.
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

WORKERS = 5  # resources at once, as many as Prefect's own


async def execute_transfer(dag: TransferDAG, console: Console) -> dict[uuid.UUID, Any]:  # noqa: ARG001
    """Copy every node of `dag` after those that it depends on.

    Returns, by the id of each node, None if it was copied, or the error that says why it was not.
    """
    skipped: dict[uuid.UUID, Any] = {}

    async def copy(node: MigratableProtocol) -> None:
        try:
            await _skip_existing_deployment(node, dag)
            await node.migrate()
        except TransferSkipped as error:
            if not _exists(node):
                raise
            skipped[node.source_id] = error  # not raised, so that what depends on it is copied

    results = {**await dag.execute_concurrent(copy, max_workers=WORKERS), **skipped}
    for node_id in dag.nodes.keys() - results.keys():
        results[node_id] = TransferSkipped("What it depends on was skipped")
    return results


async def _skip_existing_deployment(node: MigratableProtocol, dag: TransferDAG) -> None:
    """Raise TransferSkipped if `node` is a deployment that exists on the other server."""
    if not isinstance(node, MigratableDeployment):
        return
    flow = dag.nodes[node.source_deployment.flow_id]
    assert isinstance(flow, MigratableFlow)  # noqa: S101 - the id is that of a flow
    name = f"{flow.source_flow.name}/{node.source_deployment.name}"
    async with get_client() as client:
        try:
            node.destination_deployment = await client.read_deployment_by_name(name)
        except ObjectNotFound:
            return
    raise TransferSkipped("Already exists")


def _exists(node: MigratableProtocol) -> bool:
    """Whether a skipped node is on the other server; a default queue was created with its pool."""
    is_default_queue = (
        isinstance(node, MigratableWorkQueue) and node.source_work_queue.name == "default"
    )
    return is_default_queue or node.destination_id is not None


if __name__ == "__main__":
    vars(_commands)[execute_transfer.__name__] = execute_transfer
    app()
