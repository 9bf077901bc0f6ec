"""Prefect's API as plain requests, where its client has no method or only a partial one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import httpx

from server.api import pagination

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient


def call(client: SyncPrefectClient, method: str, path: str, body: Any = None) -> Any:
    """One request; its answer, None when it is empty.

    Raises:
        httpx.HTTPError: no answer, or one that is none of success.
    """
    # The client knows its own routes only by type.
    answer: httpx.Response = cast("Any", client).request(method, path, json=body)
    return answer.json() if answer.content else None


def find(client: SyncPrefectClient, path: str) -> Any:
    """What is at `path`, None when there is nothing."""
    try:
        return call(client, "GET", path)
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.NOT_FOUND:
            return None
        raise


def asking(client: SyncPrefectClient) -> pagination.Ask:
    """What reads pages with this client."""
    return lambda path, body: cast("list[dict[str, Any]]", call(client, "POST", path, body))


def every(
    client: SyncPrefectClient, path: str, body: pagination.Body | None = None
) -> Iterator[dict[str, Any]]:
    """Every object that the filter at `path` gives: `pages.every`."""
    return pagination.every(asking(client), path, body)
