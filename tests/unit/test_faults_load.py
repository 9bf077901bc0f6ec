"""The client that creates runs while a fault goes on knows which of them were accepted."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httpx

from tests.faults.load import Load
from tests.stack import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable


def load(count: int, answer: Callable[[str], httpx.Response]) -> Load:
    """A load on an API that answers a creation with `answer`, which is given the key."""

    def api(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"id": "of-deployment"})
        return answer(json.loads(request.content)["idempotency_key"])

    transport = httpx.MockTransport(api)
    client = httpx.Client(transport=transport, base_url="http://api")
    stack: Any = SimpleNamespace(client=lambda: client)
    return Load(cast("Any", stack), "ledger", count, 0)


def test_a_creation_is_asked_for_with_one_key_until_it_is_answered() -> None:
    asked: Counter[str] = Counter()

    def answer(key: str) -> httpx.Response:
        asked[key] += 1
        if asked[key] == 1:
            raise httpx.ConnectError("refused")
        return httpx.Response(201 if asked[key] == 3 else 500, json={"id": f"of {key}"})

    made = load(2, answer)
    made.start()
    made.join()
    assert made.accepted == {key: f"of {key}" for key in asked}
    assert (sorted(asked.values()), made.unanswered) == ([3, 3], set())


def test_what_was_never_answered_is_not_accepted() -> None:
    asked: list[str] = []

    def answer(key: str) -> httpx.Response:
        asked.append(key)
        return httpx.Response(503)

    made = load(3, answer)
    made.start()
    wait_for("a creation", lambda: asked)
    made.give_up()
    assert not made.accepted
    assert made.unanswered >= set(asked)
