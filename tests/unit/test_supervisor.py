"""A supervisor alone: its state file, its lock, and what it makes of services that fail."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts.backends.embedded import service as services
from scripts.backends.embedded import state, supervisor
from scripts.backends.embedded.service import Service
from server.errors import MistakeError, StackError, report_line
from tests.unit import supervising
from tests.unit.supervising import (
    LIVES,
    Supervised,
    one_shot,
    pid_of,
    running,
    service,
    start,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.backends.embedded.layout import Layout
    from scripts.backends.embedded.service import Start

DIES = "import sys; print('no way'); sys.exit(3)"


layout = supervising.layout
supervised = supervising.supervised


def reports(error: StackError) -> str:
    """Return a script that ends as `server.errors.exit_with` does in a supervised process."""
    said = f"error: {error}\n{report_line(error)}"
    return f"import sys; print({said!r}); sys.exit({error.exit_code})"


class TestState:
    @pytest.mark.parametrize("damage", ["", "{", '{"pid": "many"}', "\x00\x01", None])
    def test_what_was_damaged_is_soon_right_again(
        self, layout: Layout, supervised: Callable[..., Supervised], damage: str | None
    ) -> None:
        its = supervised(service(layout, lambda: start(LIVES)))
        its.told(running, "running stack")
        if damage is None:
            layout.state.unlink()
        else:
            layout.state.write_text(damage)
        its.told(running, "state that is right again")

    def test_a_read_of_what_is_damaged_says_so(self, layout: Layout) -> None:
        assert not state.damaged(layout)
        for text in ("", "[]", json.dumps({"pid": 1, "phase": "dancing"})):
            layout.state.write_text(text)
            assert state.read(layout) is None
            assert state.damaged(layout)

    def test_the_lock_is_closed_to_others_and_names_who_holds_it(self, layout: Layout) -> None:
        layout.lock.touch(mode=0o644)
        assert not state.alive(layout)
        with state.locked(layout):
            assert layout.lock.stat().st_mode & 0o777 == 0o600
            assert state.alive(layout)
            assert state.holder(layout) == os.getpid()
        assert state.holder(layout) is None


class TestSteadiness:
    def test_one_good_answer_is_not_enough(
        self, layout: Layout, supervised: Callable[..., Supervised]
    ) -> None:
        """As of a worker whose health server answers before the worker dies of an error."""
        its = supervised(service(layout, lambda: start(DIES), kind=Service))
        failed = its.told(lambda it: it.phase == "failed", "failed start")
        assert failed.error
        assert "ended with 3" in failed.error
        assert "no way" in failed.error
        assert "do: " in failed.error

    def test_a_service_that_loops_is_not_healthy_and_its_log_is_named(
        self, layout: Layout, supervised: Callable[..., Supervised]
    ) -> None:
        its = supervised(service(layout, lambda: start(LIVES)))
        current = its.told(running, "running stack")
        for _ in range(services.LOOP_ENDS):
            before = pid_of(current)
            os.kill(before, signal.SIGKILL)
            current = its.told(
                lambda it, before=before: (  # type: ignore[misc]
                    it.services[1].status == "running" and it.services[1].pid != before
                ),
                "another process",
            )
        one = its.supervisor.running[0]
        until("steady process", lambda: one.steady)
        shown = its.told(lambda it: "in the last 5 minutes" in str(it.services[1].problem), "loop")
        assert not shown.services[1].healthy
        assert "scripts/stack logs one" in str(shown.services[1].problem)

    def test_a_first_start_that_fails_is_tried_again(
        self, layout: Layout, supervised: Callable[..., Supervised]
    ) -> None:
        scripts = iter([DIES, DIES, LIVES])
        its = supervised(service(layout, lambda: start(next(scripts)), kind=Service))
        steady = its.told(running, "running stack")
        assert steady.services[1].restarts == 2

    def test_a_mistake_ends_the_start_at_once(
        self, layout: Layout, supervised: Callable[..., Supervised]
    ) -> None:
        asked: list[bool] = []

        def prepare() -> Start:
            asked.append(True)
            raise MistakeError("no such user", do="make one")

        its = supervised(service(layout, prepare))
        failed = its.told(lambda it: it.phase == "failed", "failed start")
        assert (failed.exit_code, asked) == (2, [True])
        assert its.end() == 2


class TestBootstrap:
    def test_one_that_finds_a_mistake_keeps_nobody_down(
        self, layout: Layout, supervised: Callable[..., Supervised]
    ) -> None:
        wrong = reports(MistakeError("prefect.yaml line 3: wrong", do="correct it"))
        its = supervised(
            one_shot(layout, "bootstrap", wrong), service(layout, lambda: start(LIVES))
        )
        told = its.told(
            lambda it: it.phase == "running" and it.services[-1].healthy, "healthy service"
        )
        shown = {each.name: each for each in told.services}
        assert shown["one"].healthy
        assert (shown["bootstrap"].status, shown["bootstrap"].exit_code) == ("failed", 2)
        said = "prefect.yaml line 3: wrong\n  do:       correct it"
        assert shown["bootstrap"].problem == said

    def test_nobody_waits_long_for_a_worker_whose_pool_could_not_be_made(
        self,
        layout: Layout,
        supervised: Callable[..., Supervised],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(supervisor, "READY_SECONDS_WITHOUT", 0.2)
        its = supervised(
            one_shot(layout, "bootstrap", "import sys; sys.exit(2)"),
            service(layout, lambda: start(LIVES, lambda _pid: "answers 404")),
        )
        told = its.told(lambda it: it.phase == "running", "running stack")
        assert told.services[-1].problem == "answers 404"

    def test_a_fault_that_passes_is_tried_again(
        self, layout: Layout, supervised: Callable[..., Supervised]
    ) -> None:
        once = (
            "import pathlib, sys; tried = pathlib.Path('tried'); "
            "sys.exit(0 if tried.exists() else tried.touch() or 1)"
        )
        its = supervised(one_shot(layout, "bootstrap", once))
        its.told(running, "running stack")

    def test_a_migration_that_fails_ends_the_start(
        self, layout: Layout, supervised: Callable[..., Supervised]
    ) -> None:
        newer = reports(MistakeError("the database is newer"))
        its = supervised(one_shot(layout, "migrate", newer), service(layout, lambda: start(LIVES)))
        failed = its.told(lambda it: it.phase == "failed", "failed start")
        assert (failed.error, failed.exit_code) == ("the database is newer", 2)


def test_a_service_that_cannot_be_stopped_leaves_the_others_stopped(
    layout: Layout, supervised: Callable[..., Supervised], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (service(layout, lambda: start(LIVES), name) for name in ("one", "two"))
    its = supervised(one, two)
    told = its.told(running, "running stack")
    stop = two.stop

    def fails() -> None:
        stop()
        raise StackError("no way")

    monkeypatch.setattr(two, "stop", fails)
    assert its.end() == 0
    assert not Path(f"/proc/{pid_of(told)}").exists()
