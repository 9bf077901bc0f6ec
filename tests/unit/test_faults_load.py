"""The client that creates runs during a fault knows which of them the server has accepted."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest

from tests.faults import load as faults_load
from tests.faults.load import Load
from tests.stack import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults_load, "AGAIN_SECONDS", 0.01)


def load(count: int, answer: Callable[[str], httpx.Response]) -> Load:
    """Make a load on an API that answers each creation with `answer`, called with its key."""

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

    two_runs = load(2, answer)
    two_runs.start()
    two_runs.join()
    assert two_runs.accepted == {key: f"of {key}" for key in asked}
    assert (sorted(asked.values()), two_runs.unanswered) == ([3, 3], set())


def test_what_was_never_answered_is_not_accepted() -> None:
    asked: list[str] = []

    def answer(key: str) -> httpx.Response:
        asked.append(key)
        return httpx.Response(503)

    three_runs = load(3, answer)
    three_runs.start()
    wait_for("a creation", lambda: asked)
    three_runs.give_up()
    assert not three_runs.accepted
    assert three_runs.unanswered >= set(asked)
