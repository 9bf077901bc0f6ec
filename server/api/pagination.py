"""Reads all pages of a filter of Prefect's API, which returns at most 200 objects per page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

PAGE = 200  # the largest page size that the server allows

Body = Mapping[str, Any]
Ask = Callable[[str, Body], list[dict[str, Any]]]
"""A function that posts a body to a path of the API and returns the list in the response."""


def every(ask: Ask, path: str, body: Body | None = None) -> Iterator[dict[str, Any]]:
    """Yield every object that the filter at `path` returns, page by page.

    Unless the filter has a total order by default, `body` must request one: otherwise the pages may
    overlap or miss objects.
    """
    offset = 0
    while True:
        page = ask(path, {**(body or {}), "limit": PAGE, "offset": offset})
        yield from page
        offset += len(page)
        if len(page) < PAGE:
            return


def flows(ask: Ask) -> dict[str, str]:
    """The names of all flows, by their ids."""
    return {flow["id"]: flow["name"] for flow in every(ask, "/flows/filter", {"sort": "NAME_ASC"})}


def deployments(ask: Ask, flow_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The deployments of these flows."""
    # Most flows have one deployment, so that the deployments of half a page of flows fit on a page.
    for start in range(0, len(flow_ids), PAGE // 2):
        yield from _deployments_of(ask, flow_ids[start : start + PAGE // 2])


def _deployments_of(ask: Ask, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The deployments of these flows, which are divided until one page holds their deployments.

    The server has a total order of deployments only within one flow (by name), so that pages with
    the deployments of several flows might miss some.
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
    yield from _deployments_of(ask, ids[:half])
    yield from _deployments_of(ask, ids[half:])
