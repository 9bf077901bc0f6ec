"""Reads all pages of a filter of Prefect's API, which returns at most 200 objects at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

PAGE = 200  # the most that the server gives at once

Body = Mapping[str, Any]
Ask = Callable[[str, Body], list[dict[str, Any]]]
"""Posts a body to a path of the API, for the list that it answers with."""


def every(ask: Ask, path: str, body: Body | None = None) -> Iterator[dict[str, Any]]:
    """Every object that the filter at `path` returns, page by page.

    `body` has to ask for an order without ties, where the filter has none of its own: the server's
    pages do not fit together otherwise.
    """
    offset = 0
    while True:
        page = ask(path, {**(body or {}), "limit": PAGE, "offset": offset})
        yield from page
        offset += len(page)
        if len(page) < PAGE:
            return


def flows(ask: Ask) -> dict[str, str]:
    """The name of each flow, by its id."""
    return {each["id"]: each["name"] for each in every(ask, "/flows/filter", {"sort": "NAME_ASC"})}


def deployments(ask: Ask, flow_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The deployments of these flows."""
    # Most flows have one deployment: half a page of flows has room for theirs.
    for at in range(0, len(flow_ids), PAGE // 2):
        yield from _of_flows(ask, flow_ids[at : at + PAGE // 2])


def _of_flows(ask: Ask, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Those of so many flows that one page holds them.

    The server has no order of deployments without ties but by name within one flow, so that pages
    of many flows would miss some.
    """
    path = "/deployments/filter"
    body = {"flows": {"id": {"any_": list(ids)}}, "sort": "NAME_ASC"}
    if len(ids) == 1:
        yield from every(ask, path, body)
        return
    page = ask(path, {**body, "limit": PAGE})
    if len(page) < PAGE:
        yield from page
        return
    half = len(ids) // 2
    yield from _of_flows(ask, ids[:half])
    yield from _of_flows(ask, ids[half:])
