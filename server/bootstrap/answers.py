"""What the server answered, as a message for the person whose declaration it refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from prefect.exceptions import PrefectException

from server.errors import StackError

if TYPE_CHECKING:
    from server.bootstrap.resource import Declared
    from server.errors import MistakeError

# The statuses that concern the request itself, not the login or the server's load.
REFUSALS = {
    httpx.codes.BAD_REQUEST,
    httpx.codes.NOT_FOUND,
    httpx.codes.CONFLICT,
    httpx.codes.UNPROCESSABLE_ENTITY,
}
LONGEST = 300  # characters of a reason


def is_refusal(error: httpx.HTTPStatusError) -> bool:
    """Whether the server refuses the request itself, so that repeating it would not help."""
    return error.response.status_code in REFUSALS


def refusal(error: httpx.HTTPStatusError, item: Declared[Any], kind: str) -> MistakeError:
    """The mistake in `item`, with the reason that the server gives."""
    return item.mistake(
        f"the server does not take the {kind} {item.name!r}",
        expected="a declaration that the server takes",
        found=say(error, secret=item.is_filled),
    )


def failure(error: Exception, what: str) -> StackError:
    """An error for a failure that no declaration has caused."""
    return StackError(
        what,
        expected="an answer of success to each request",
        found=say(error, secret=True),
        do="scripts/stack status, then run it again: it goes on where it stopped",
    )


def say(error: Exception, *, secret: bool) -> str:
    """What failed; without the server's reason if the request is `secret`, for it may repeat it."""
    if not isinstance(error, httpx.HTTPStatusError):
        return type(error).__name__ if isinstance(error, PrefectException) else repr(error)
    answer = error.response
    said = f"{answer.status_code} to {error.request.method} {error.request.url.path}"
    content = _content(answer)
    details = content.get("exception_detail")
    if isinstance(details, list):  # each has a location, and repeats the value
        places = (".".join(map(str, each.get("loc", ()))) for each in details)
        said += f", which does not take {', '.join(places)}"
    reason = content.get("detail")
    if isinstance(reason, str) and not secret:
        said += f": {' '.join(reason.split())[:LONGEST]}"
    return said


def _content(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
