"""The database is away, dies again and again, or takes no more connections."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.faults import inject, trial
from tests.faults.claims import ends_well

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.faults.conftest import Measured
    from tests.faults.ground import Ground

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.fault(
    "PostgreSQL is killed and kept away for 20 s",
    promises=[1, 2, 3, 4, 5, 6],
    bound="all Completed 120 s after its return",
)
def test_nothing_is_lost_when_the_database_is_away_for_20_seconds(
    ground: Ground, measured: Measured
) -> None:
    def away() -> Collection[int]:
        with inject.postgres_away(ground):
            time.sleep(20)
        return ()

    result = trial.run(ground, away, runs=40, spread_seconds=15)
    measured |= result.measured()
    ends_well(ground, result)
    assert result.ill_said, "status said that all was well while the database was away"


@pytest.mark.fault(
    "the postmaster is killed 5 times in 30 s",
    promises=[1, 2, 3, 4, 5],
    bound="all of 120 Completed 240 s after the last kill",
)
def test_nothing_is_lost_when_the_database_dies_again_and_again(
    ground: Ground, measured: Measured
) -> None:
    def again_and_again() -> Collection[int]:
        socket = inject.socket_folder(ground)
        for _ in range(5):
            inject.kill(inject.service(ground, "postgres"))
            time.sleep(6)
        inject.wait_for_postgres(ground, socket)
        return ()

    result = trial.run(ground, again_and_again, runs=120, spread_seconds=25, bound_seconds=240)
    measured |= result.measured()
    ends_well(ground, result)


@pytest.mark.fault(
    "all 50 connections of PostgreSQL are taken for 45 s",
    promises=[1, 2, 3, 4, 5],
    bound="all Completed 120 s after they are given back",
)
def test_nothing_is_lost_when_no_connection_is_left(ground: Ground, measured: Measured) -> None:
    held: list[int] = []

    def exhausted() -> Collection[int]:
        held.append(inject.exhaust_connections(ground, 45))
        return ()

    result = trial.run(ground, exhausted, runs=40, spread_seconds=30)
    measured |= {**result.measured(), "connections taken": held[0]}
    ends_well(ground, result)
