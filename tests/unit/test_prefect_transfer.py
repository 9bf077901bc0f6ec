"""The fault of `prefect transfer` that we work around is still there, and we do work around it."""

from __future__ import annotations

import asyncio
import inspect
import io
import uuid
from typing import Any, cast

from prefect.cli import _transfer_utils
from prefect.cli.transfer import _commands
from prefect.cli.transfer._dag import TransferDAG
from prefect.cli.transfer._exceptions import TransferSkipped
from prefect.cli.transfer._migratable_resources.deployments import MigratableDeployment
from rich.console import Console

from scripts import prefect_transfer


class Node:
    """A resource to transfer, which may be on the other server already."""

    def __init__(self, *needs: Node, skipped: bool = False, there: bool = True) -> None:
        self.source_id = uuid.uuid4()
        self.destination_id = uuid.uuid4() if there else None
        self.needs, self.skipped, self.carried = needs, skipped, False

    async def get_dependencies(self) -> list[Node]:
        return list(self.needs)

    async def migrate(self) -> None:
        if self.skipped:
            raise TransferSkipped("Already exists")
        self.carried = True


def run(execute: Any, *nodes: Node) -> dict[uuid.UUID, Any]:
    """Transfer `nodes` as `prefect transfer` does, with `execute`; return the results by id."""

    async def main() -> Any:
        dag = TransferDAG()  # type: ignore[no-untyped-call]
        await dag.build_from_roots(cast("Any", nodes))
        return await execute(dag, Console(file=io.StringIO()))

    return dict(asyncio.run(main()))


def test_prefect_still_leaves_out_what_depends_on_something_skipped() -> None:
    """When this fails, Prefect has mended it: then scripts/prefect_transfer.py can go."""
    there = Node(skipped=True)
    needing = Node(there)
    results = run(_transfer_utils.execute_transfer, needing)
    assert not needing.carried
    assert needing.source_id not in results


def test_here_it_is_carried() -> None:
    there = Node(skipped=True)
    needing = Node(there)
    results = run(prefect_transfer.execute_transfer, needing)
    assert needing.carried
    assert str(results[there.source_id]) == "Already exists"
    assert results[needing.source_id] is None


def test_what_needs_something_that_is_not_there_is_named() -> None:
    absent = Node(skipped=True, there=False)
    needing = Node(absent)
    results = run(prefect_transfer.execute_transfer, needing)
    assert not needing.carried
    assert str(results[needing.source_id]) == "What it depends on was skipped"


def test_the_command_calls_what_is_replaced() -> None:
    assert "results = await execute_transfer(dag, console)" in inspect.getsource(_commands.transfer)
    assert vars(_commands)["execute_transfer"] is _transfer_utils.execute_transfer


def test_prefect_still_asks_the_server_to_overwrite_a_deployment() -> None:
    """Its server takes a deployment that exists for an update: ObjectAlreadyExists never comes."""
    source = inspect.getsource(MigratableDeployment.migrate)
    assert "create_deployment(" in source
    assert "read_deployment_by_name" not in source
