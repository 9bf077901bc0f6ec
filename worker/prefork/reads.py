"""What a worker reads for a run, with what cannot change kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import Flow


class Reads:
    """A client that remembers flows: a flow is an id and a name, and keeps both."""

    def __init__(self, client: PrefectClient, flows: dict[UUID, Flow]) -> None:
        """Of `client`, with the flows that are known."""
        self._client = client
        self._flows = flows

    async def read_flow(self, flow_id: UUID) -> Flow:
        """The flow, asked for once."""
        if flow_id not in self._flows:
            self._flows[flow_id] = await self._client.read_flow(flow_id)
        return self._flows[flow_id]

    def __getattr__(self, name: str) -> Any:
        """All else is the client's."""
        return getattr(self._client, name)
