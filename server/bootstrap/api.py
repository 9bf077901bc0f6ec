"""Raw requests to Prefect's API, where its client has no method or only a partial one."""

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
        """Send a request and return the parsed JSON of the response, or None if it is empty."""


class PrefectClient:
    """A `Client` that wraps Prefect's own, which adds the login, retries and CSRF tokens."""

    def __init__(self, client: SyncPrefectClient) -> None:
        # Any, because the types of Prefect's client accept only some of the API's paths.
        self._client: Any = client

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request and return the parsed JSON of the response, or None if it is empty.

        Raises:
            httpx.HTTPError: there was no response, or its status is an error.
        """
        response: httpx.Response = self._client.request(method, path, json=body)
        return response.json() if response.content else None


def find(client: Client, path: str) -> Any:
    """The object at `path`, or None if the server answers 404."""
    try:
        return client.call("GET", path)
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.NOT_FOUND:
            return None
        raise


def asking(client: Client) -> pagination.Ask:
    """The function that `pagination` needs to post requests through `client`."""
    return lambda path, body: cast("list[dict[str, Any]]", client.call("POST", path, body))


def every(
    client: Client, path: str, body: pagination.Body | None = None
) -> Iterator[dict[str, Any]]:
    """Every object that the filter at `path` returns; see `pagination.every`."""
    return pagination.every(asking(client), path, body)
