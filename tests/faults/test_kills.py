"""One process or all of them are killed, as the kernel does when memory is short."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.faults import account, inject, trial
from tests.faults.claims import ends_well
from tests.faults.load import BY_GLOBAL, GLOBAL_LIMIT
from tests.faults.trial import PLACES_SECONDS
from tests.stack import finished, get, start_run, wait_for

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.faults.conftest import Measured
    from tests.faults.ground import Ground


@pytest.mark.fault(
    "the server is killed -9",
    promises=[1, 2, 3, 4],
    bound="all Completed after 120 s, all slots free 60 s later",
)
def test_no_run_and_no_slot_is_lost_when_the_server_dies(
    ground: Ground, measured: Measured
) -> None:
    def killed() -> Collection[int]:
        inject.kill(inject.service(ground, "server"))
        return ()

    result = trial.run(ground, killed, runs=40, spread_seconds=5)
    measured |= result.measured()
    ends_well(ground, result)


@pytest.mark.fault(
    "the worker is killed -9",
    promises=[1, 2, 3, 4],
    bound="all ended after 120 s, Crashed only what was at work, all slots free 60 s later",
)
def test_only_what_was_at_work_crashes_when_the_worker_dies(
    ground: Ground, measured: Measured
) -> None:
    def killed() -> Collection[int]:
        return inject.kill_worker(ground)

    result = trial.run(ground, killed, runs=40, spread_seconds=5)
    measured |= result.measured()
    ends_well(ground, result)


@pytest.mark.slow
@pytest.mark.fault(
    "the template that runs are forked from is killed -9",
    promises=[1, 2],
    bound="all Completed after 120 s",
)
def test_no_run_is_lost_when_the_template_dies(ground: Ground, measured: Measured) -> None:
    def killed() -> Collection[int]:
        for template in inject.templates(ground):
            inject.kill(template)
        return ()

    result = trial.run(ground, killed, runs=40, spread_seconds=5)
    measured |= result.measured()
    ends_well(ground, result)


@pytest.mark.fault(
    "a run that holds a slot of a global limit is killed -9",
    promises=[1, 3, 4],
    bound="Crashed, and its slot free, after 60 s",
)
def test_the_slot_of_a_run_that_was_killed_is_free_after_a_minute(
    ground: Ground, measured: Measured
) -> None:
    parameters = {"key": "killed", "ledger": str(ground.ledger), "seconds": 600}
    with ground.stack.client() as client:
        deployment = f"accounted/{BY_GLOBAL}"
        run = start_run(client, deployment, {**parameters, "limit": GLOBAL_LIMIT})
        wait_for("slot that is taken", lambda: account.places(client).get(GLOBAL_LIMIT))
        path = f"/flow_runs/{run}"
        pid = wait_for("pid", lambda: get(client, path)["infrastructure_pid"])
        [process] = [each for each in inject.runs(ground) if each.pid == int(pid)]
        inject.kill(process)
        began = time.monotonic()
        told = finished(client, run, PLACES_SECONDS)
        measured["told, s"] = round(time.monotonic() - began, 1)
        assert told["state_type"] == "CRASHED", told["state"]
        wait_for("slot that is free", lambda: not account.places(client), PLACES_SECONDS)
        measured["slot free, s"] = round(time.monotonic() - began, 1)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault(
    "the supervisor is killed -9, then `up`",
    promises=[1, 2, 3, 4, 6],
    bound="`up` exits with 0; all ended after 120 s, Crashed only what was at work",
)
def test_up_brings_back_what_a_killed_supervisor_has_left(
    ground: Ground, measured: Measured
) -> None:
    def killed() -> Collection[int]:
        ended = {each.pid for each in inject.runs(ground)}
        inject.kill(inject.supervisor(ground))
        ground.stack.up()
        return ended

    result = trial.run(ground, killed, runs=40, spread_seconds=10)
    measured |= result.measured()
    ends_well(ground, result)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.fault(
    "all processes are killed -9 at once, then `up`",
    promises=[1, 2, 3, 4, 6],
    bound="`up` exits with 0; all ended after 120 s, Crashed only what was at work",
)
def test_up_brings_back_what_a_power_cut_has_left(
    ground: Ground, measured: Measured, number: int
) -> None:
    def killed() -> Collection[int]:
        ended = inject.kill_all(ground)
        ground.stack.up()
        return ended

    result = trial.run(ground, killed, runs=40, spread_seconds=10)
    measured |= result.measured()
    ends_well(ground, result)
