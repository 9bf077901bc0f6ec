"""Asks `scripts/stack status` all through a trial, and keeps what it said and when."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.stack import Stack

EVERY_SECONDS = 3.0
ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Said:
    """One answer of `status`."""

    at: float  # when it was asked, by time.monotonic()
    well: bool  # whether it exited with 0
    problems: tuple[str, ...]


class Watch(threading.Thread):
    """A person who types `scripts/stack status` every few seconds."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(name="watch", daemon=True)
        self.said: list[Said] = []
        self._stack = stack
        self._enough = threading.Event()

    def run(self) -> None:
        """Ask until `end` is called."""
        while not self._enough.is_set():
            self.said.append(ask(self._stack))
            self._enough.wait(EVERY_SECONDS)

    def end(self) -> None:
        """Stop asking, and wait for the last answer."""
        self._enough.set()
        self.join()


def ask(stack: Stack) -> Said:
    """Ask `scripts/stack status --json` once."""
    at = time.monotonic()
    try:
        result = subprocess.run(
            ["scripts/stack", "status", "--json"],
            check=False,
            cwd=stack.root,
            env=stack.environment(),
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
        )
        services = json.loads(result.stdout)["services"] if result.stdout else []
    except subprocess.TimeoutExpired:
        return Said(at, well=False, problems=(f"status: no answer within {ANSWER_SECONDS} s",))
    ill = tuple(f"{each['name']}: {each['detail']}" for each in services if not each["healthy"])
    return Said(at, well=result.returncode == 0, problems=ill or (result.stderr.strip(),))
