"""Creates runs during a fault as a careful client does: with a key, and until it gets an answer."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import httpx

from tests.stack import deployment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stack import Stack

# How long the work of each run takes; the runs take these values in turn.
SECONDS = (0, 0, 2, 0, 2, 0, 0, 10)
GLOBAL_LIMIT = "of-faults"
PLAIN, BY_DEPLOYMENT, BY_GLOBAL = "plain", "by-deployment", "by-global"
# Of five runs, one holds a slot of a global limit, and one belongs to a deployment with a limit.
KINDS = (BY_GLOBAL, BY_DEPLOYMENT, PLAIN, PLAIN, PLAIN)
AGAIN_SECONDS = 0.5
LEAST_ERROR_TO_RETRY = 500


class Load(threading.Thread):
    """Asks for `count` runs, a third of them at once and the others evenly over `seconds`.

    `accepted` has the ids of the runs that the server has confirmed, by key. `unanswered` has the
    keys that got no answer before `give_up`: nobody knows whether they have become runs.
    """

    def __init__(self, stack: Stack, ledger: Path | str, count: int, seconds: float) -> None:
        """Look up the deployments, while the API still answers."""
        super().__init__(name="load", daemon=True)
        self.accepted: dict[str, str] = {}
        self.unanswered: set[str] = set()
        self._ledger, self._count, self._seconds = str(ledger), count, seconds
        self._given_up = threading.Event()
        self._client = stack.client()
        self._client.timeout = httpx.Timeout(10)
        self._ids = {
            kind: deployment(self._client, f"accounted/{kind}")["id"] for kind in set(KINDS)
        }

    def run(self) -> None:
        """Create the runs."""
        prefix = uuid.uuid4().hex[:8]
        at_once = self._count // 3
        began = time.monotonic()
        with contextlib.closing(self._client):
            for number in range(self._count):
                due = max(0, number - at_once) * self._seconds / (self._count - at_once)
                self._given_up.wait(max(0.0, began + due - time.monotonic()))
                self._create(f"{prefix}-{number:03}", number)

    def give_up(self) -> None:
        """Stop asking for runs that got no answer yet, and wait for the thread to end."""
        self._given_up.set()
        self.join()

    def _create(self, key: str, number: int) -> None:
        kind = KINDS[number % len(KINDS)]
        parameters: dict[str, Any] = {
            "key": key,
            "ledger": self._ledger,
            "seconds": SECONDS[number % len(SECONDS)],
            "limit": GLOBAL_LIMIT if kind == BY_GLOBAL else "",
        }
        body = {
            "name": key,
            "idempotency_key": key,
            "parameters": parameters,
            "state": {"type": "SCHEDULED"},
        }
        path = f"/deployments/{self._ids[kind]}/create_flow_run"
        self.unanswered.add(key)
        while not self._given_up.is_set():
            try:
                answer = self._client.post(path, json=body)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code < LEAST_ERROR_TO_RETRY:
                answer.raise_for_status()
                self.accepted[key] = str(answer.json()["id"])
                self.unanswered.discard(key)
                return
            self._given_up.wait(AGAIN_SECONDS)
