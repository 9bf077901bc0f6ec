"""A seeded monkey kills twenty processes in five minutes."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults import inject, trial
from tests.faults.claims import ends_well

if TYPE_CHECKING:
    from collections.abc import Collection

    import psutil

    from tests.faults.conftest import Measured
    from tests.faults.ground import Ground

KILLS = 20
SECONDS = 300
VICTIMS = ("postmaster", "backend", "server", "worker", "template", "run")


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.fault(
    "a monkey kills 20 processes in 5 minutes",
    promises=[1, 2, 3, 4, 5, 6],
    bound="all of 200 ended after 240 s, Crashed only what was itself killed at work",
)
def test_only_what_the_monkey_killed_is_crashed(
    ground: Ground, measured: Measured, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    killed: list[str] = []

    def monkey() -> Collection[int]:
        began = time.monotonic()
        ended: set[int] = set()
        moments = sorted(chance.uniform(0, SECONDS) for _ in range(KILLS))
        for moment in moments:
            time.sleep(max(0.0, began + moment - time.monotonic()))
            victim = chance.choice(VICTIMS)
            ended |= kill(ground, victim, chance)
            killed.append(victim)
        return ended

    result = trial.run(ground, monkey, runs=200, spread_seconds=SECONDS - 10, bound_seconds=240)
    kills = {f"kills of {each}": killed.count(each) for each in VICTIMS if each in killed}
    measured |= {"seed": seed, **result.measured(), **kills}
    ends_well(ground, result)


def kill(ground: Ground, victim: str, chance: random.Random) -> set[int]:
    """Kill a process of the kind `victim`; return the pids of the runs that die with it."""
    match victim:
        case "postmaster":
            inject.kill(inject.service(ground, "postgres"))
        case "backend":
            _kill_any(inject.service(ground, "postgres").children(), chance)
        case "server":
            inject.kill(inject.service(ground, "server"))
        case "template":
            _kill_any(inject.templates(ground), chance)
        case "run":
            return _kill_any(inject.runs(ground), chance)
        case "worker":
            return inject.kill_worker(ground)
    return set()


def _kill_any(processes: list[psutil.Process], chance: random.Random) -> set[int]:
    """Kill one of the processes, if there is any; return its pid."""
    if not processes:
        return set()
    chosen = chance.choice(processes)
    inject.kill(chosen)
    return {chosen.pid}
