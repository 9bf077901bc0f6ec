"""Sends what happened in the job to the server, from a thread of its own."""

from __future__ import annotations

import http.client
import logging
import os
import threading
import time
import urllib.error
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .server import Dropped, Refused, Server

if TYPE_CHECKING:
    from .runs import FlowRun, Run

SILENCE_SECONDS = 5.0  # how long the end of a job waits for a server that does not answer
FLUSH_SECONDS = 55.0  # how long it waits in all, before SILENCE_SECONDS more for vital requests
PAUSE_SECONDS = 1.0  # between two attempts
TRIES = 3  # for a request that the server answers with an internal error
AGAIN_SECONDS = 60.0  # after giving up, a process does not try for this long
HEARTBEAT_SECONDS = 30.0  # as in the runs of a stack: an automation in stack.yaml relies on it
LINES_HELD = 20_000  # log lines that may wait for the server
LINES_AT_ONCE = 200  # log lines in one request

Request = Callable[[Server], object]
log = logging.getLogger("tracking")


class Line:
    """A log line, which is sent in one request with its neighbours."""

    def __init__(self, body: Callable[[Server], dict[str, Any]]) -> None:
        self.body = body


class Vital:
    """A request that is sent even if there is no time for others: the end of a flow run."""

    def __init__(self, request: Request) -> None:
        self.request = request


class Recorder:
    """Accepts requests without delay and sends them in order, from its own thread."""

    def __init__(self) -> None:
        # These survive a fork: a child knows how long its parent has waited for an answer, and
        # does not begin to wait anew.
        self._silent_since: float | None = None
        self._off_until = 0.0
        self._away = False
        self._told: set[str] = set()
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._held: deque[Request | Line | Vital] = deque()
        self._sending = False
        self._thread: threading.Thread | None = None
        self._lost = 0
        self.open: list[Run] = []  # runs of this process, in the order in which they began
        self.beating: list[FlowRun] = []  # flow runs that send heartbeats

    def send(self, item: Request | Line | Vital) -> None:
        """Queue `item` to be sent; drop it if tracking is off, or if too many lines wait."""
        if not os.environ.get("PREFECT_API_URL"):
            self._tell("PREFECT_API_URL is not set: the job runs untracked")
            return
        with self._changed:
            full = isinstance(item, Line) and len(self._held) >= LINES_HELD
            if full or time.monotonic() < self._off_until:
                self._lost += 1
                return
            self._held.append(item)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until everything is sent, or give up."""
        if not self._sent_by(time.monotonic() + FLUSH_SECONDS):
            with self._changed:
                vital = [item for item in self._held if isinstance(item, Vital)]
                self._lost += len(self._held) - len(vital)
                self._held = deque(vital)
            log.warning("tracking could not send everything within %.0f s", FLUSH_SECONDS)
            if not self._sent_by(time.monotonic() + SILENCE_SECONDS):
                self._give_up("the server is too slow")
        lost, self._lost = self._lost, 0
        if lost:
            log.warning("tracking lost %d records; the job itself is not affected", lost)

    def _sent_by(self, deadline: float) -> bool:
        """Wait until everything is sent; return False if the deadline passes first.

        Also return True if the server does not answer, since waiting longer would be useless.
        """
        with self._changed:
            while (self._held or self._sending) and time.monotonic() >= self._off_until:
                now = time.monotonic()
                if now - (self._silent_since or now) > SILENCE_SECONDS:
                    break
                if now > deadline:
                    return False
                self._changed.wait(0.1)
            else:
                return True
        self._give_up("the server does not answer")
        return True

    def _give_up(self, reason: str) -> None:
        with self._changed:
            self._lost += len(self._held) + self._sending
            self._held.clear()
            self._off_until = time.monotonic() + AGAIN_SECONDS
            self._silent_since = None
            self._changed.notify_all()
        log.warning("tracking lost: %s; the job goes on untracked", reason)

    def _tell(self, once: str) -> None:
        """Log a warning, once per process."""
        if once not in self._told:
            self._told.add(once)
            log.warning("%s", once)

    def _work(self) -> None:
        server = Server()
        while True:
            request = self._next()
            self._deliver(server, request)
            with self._changed:
                self._sending = False
                if not self._held:
                    self._silent_since = None
                self._changed.notify_all()

    def _next(self) -> Request:
        with self._changed:
            while not self._held:
                for run in self.beating:
                    if run.beat_at <= time.monotonic() and self._off_until <= time.monotonic():
                        run.beat_at = time.monotonic() + HEARTBEAT_SECONDS
                        return run.beat
                self._changed.wait(PAUSE_SECONDS)
            self._sending = True
            first = self._held.popleft()
            if isinstance(first, Vital):
                return first.request
            if not isinstance(first, Line):
                return first
            lines = [first]
            while self._held and len(lines) < LINES_AT_ONCE:
                following = self._held[0]
                if not isinstance(following, Line):
                    break
                lines.append(following)
                self._held.popleft()
        return lambda server: server.post("/logs/", [line.body(server) for line in lines])

    def _deliver(self, server: Server, request: Request) -> None:
        tries = 0
        while time.monotonic() >= self._off_until:
            self._silent_since = self._silent_since or time.monotonic()
            tries += 1
            try:
                request(server)
            except Refused as error:
                self._give_up(str(error))
            except (OSError, http.client.HTTPException, ValueError) as error:
                if not self._away:
                    log.warning("tracking has no answer yet, and the job goes on (%s)", error)
                self._away = True
                if tries >= TRIES and _fault_of_the_server(error):
                    self._drop(error)
                    return
                time.sleep(PAUSE_SECONDS)
            except Exception as error:  # noqa: BLE001 - no error may end the job
                self._drop(error)
                return
            else:
                self._silent_since = None
                self._away = False
                return

    def _drop(self, error: Exception) -> None:
        self._lost += 1
        if isinstance(error, Dropped):
            self._silent_since = None
        self._tell(f"tracking left something out: {error}")


def _fault_of_the_server(error: Exception) -> bool:
    return (
        isinstance(error, urllib.error.HTTPError)
        and error.code == http.client.INTERNAL_SERVER_ERROR
    )
