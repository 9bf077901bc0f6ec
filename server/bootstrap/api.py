"""Prefect's API as plain requests, where its client has no method or only a partial one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prefect.client.orchestration import SyncPrefectClient

PAGE = 200  # the most that the server gives at once


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


def every(
    client: SyncPrefectClient, path: str, body: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Every object that the filter at `path` gives, page by page.

    `body` has to ask for an order without ties, where the filter has none of its own: the server's
    pages do not fit together otherwise.
    """
    offset = 0
    while True:
        page = call(client, "POST", path, {**(body or {}), "limit": PAGE, "offset": offset})
        yield from page
        offset += len(page)
        if len(page) < PAGE:
            return
