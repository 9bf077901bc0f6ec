"""Caches what a worker reads for each run and what does not change, or not soon."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import httpx
from prefect.exceptions import PrefectHTTPStatusError

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import Flow

SHARED_SECONDS = 1


class CachedReads:
    """A client that caches flows. A flow is an id and a name, and neither ever changes."""

    def __init__(self, client: PrefectClient, flows: dict[UUID, Flow]) -> None:
        """Wrap `client`; `flows` is the cache."""
        self._client = client
        self._flows = flows

    async def read_flow(self, flow_id: UUID) -> Flow:
        """Return the flow, which is requested only once."""
        if flow_id not in self._flows:
            self._flows[flow_id] = await self._client.read_flow(flow_id)
        return self._flows[flow_id]

    def __getattr__(self, name: str) -> Any:
        """Delegate everything else to the client."""
        return getattr(self._client, name)


class ResultStorage:
    """The default storage of results, with one request for all runs taken within a second."""

    def __init__(self) -> None:
        self._answer: asyncio.Task[dict[str, str | None] | None] | None = None
        self._stale = 0.0  # when the answer becomes too old

    async def read(self, client: PrefectClient) -> dict[str, str | None] | None:
        """Return the `id` of the storage block, which is None for local files; None if unknown."""
        if self._answer is None or (self._answer.done() and time.monotonic() > self._stale):
            self._answer = asyncio.create_task(self._ask(client))
        return await asyncio.shield(self._answer)

    async def _ask(self, client: PrefectClient) -> dict[str, str | None] | None:
        try:
            answer = await client.read_server_default_result_storage()
        except (PrefectHTTPStatusError, httpx.HTTPError, RuntimeError, ValueError):
            return None  # the run asks by itself, and reports what goes wrong
        finally:
            self._stale = time.monotonic() + SHARED_SECONDS
        block_id = answer.default_result_storage_block_id
        return {"id": str(block_id) if block_id else None}
