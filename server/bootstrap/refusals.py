"""Turns error responses of the server into messages for the author of a declaration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from prefect.exceptions import PrefectException

from server.errors import StackError

if TYPE_CHECKING:
    from server.bootstrap.resource import Declared
    from server.errors import MistakeError

# The statuses that blame the request itself, not the login or the load of the server.
REFUSALS = {
    httpx.codes.BAD_REQUEST,
    httpx.codes.NOT_FOUND,
    httpx.codes.CONFLICT,
    httpx.codes.UNPROCESSABLE_ENTITY,
}
MAX_REASON = 300  # characters of the server's reason that a message shows


def is_refusal(error: httpx.HTTPStatusError) -> bool:
    """Whether the server rejects the request itself, so that a retry would not help."""
    return error.response.status_code in REFUSALS


def refusal(error: httpx.HTTPStatusError, item: Declared[Any], kind: str) -> MistakeError:
    """The error for a declaration that the server rejects, with the server's reason."""
    return item.mistake(
        f"the server does not take the {kind} {item.name!r}",
        expected="a declaration that the server takes",
        found=describe(error, secret=item.is_filled),
    )


def failure(error: Exception, what: str) -> StackError:
    """The error for a failed request that no declaration is to blame for."""
    return StackError(
        what,
        expected="a successful answer to each request",
        found=describe(error, secret=True),
        do="scripts/stack status, then run it again: it goes on where it stopped",
    )


def describe(error: Exception, *, secret: bool) -> str:
    """One line about the failed request.

    With `secret`, the server's reason is left out, because it may quote the request.
    """
    if not isinstance(error, httpx.HTTPStatusError):
        return type(error).__name__ if isinstance(error, PrefectException) else repr(error)
    response = error.response
    message = f"{response.status_code} to {error.request.method} {error.request.url.path}"
    content = _content(response)
    details = content.get("exception_detail")
    if isinstance(details, list):  # only the locations are shown: the details quote the values
        places = (".".join(map(str, detail.get("loc", ()))) for detail in details)
        message += f", which does not take {', '.join(places)}"
    reason = content.get("detail")
    if isinstance(reason, str) and not secret:
        message += f": {' '.join(reason.split())[:MAX_REASON]}"
    return message


def _content(response: httpx.Response) -> dict[str, Any]:
    try:
        content = response.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
