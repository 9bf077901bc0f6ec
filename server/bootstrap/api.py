"""Requests to Prefect's API, for what its client has no method for or only a partial one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

import httpx

from server.api import pagination

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient


class Client(Protocol):
    """Sends requests to the API of one server."""

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request and return its answer, None when that is empty."""


class PrefectClient:
    """A `Client` that uses Prefect's own, with its login, retries and CSRF tokens."""

    def __init__(self, client: SyncPrefectClient) -> None:
        # Prefect's client declares the paths that it accepts, and these are not all among them.
        self._client: Any = client

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request and return its answer, None when that is empty.

        Raises:
            httpx.HTTPError: there was no answer, or its status is not one of success.
        """
        answer: httpx.Response = self._client.request(method, path, json=body)
        return answer.json() if answer.content else None


def find(client: Client, path: str) -> Any:
    """What is at `path`, None when there is nothing."""
    try:
        return client.call("GET", path)
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.NOT_FOUND:
            return None
        raise


def asking(client: Client) -> pagination.Ask:
    """A function that posts to the server of `client`, as `pagination` needs it."""
    return lambda path, body: cast("list[dict[str, Any]]", client.call("POST", path, body))


def every(
    client: Client, path: str, body: pagination.Body | None = None
) -> Iterator[dict[str, Any]]:
    """Every object that the filter at `path` gives: `pagination.every`."""
    return pagination.every(asking(client), path, body)
