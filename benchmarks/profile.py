"""Profiles the start of a run, by the requests that a relay sees.

`scripts/stack bench` includes the profile. `scripts/python -m benchmarks.profile` takes only the
profile, and adds it to the raw figures in a file with `--to FILE`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contender import Job
from benchmarks.contenders.prefork import Prefork
from benchmarks.ground import Ground, ground
from benchmarks.measures import READY_SECONDS, RUN_SECONDS, WARM_UPS
from benchmarks.relay import Relay, relaying
from benchmarks.results import read
from scripts import report as console

if TYPE_CHECKING:
    from collections.abc import Sequence

RUNS = 30
POLL = "get_scheduled_flow_runs"
STATE = "POST /api/flow_runs/ID/set_state"
READ = "GET /api/flow_runs/ID"
LOADING = """
    select extract(epoch from min(timestamp))::float8
    from log where flow_run_id = %s::uuid and message like 'Downloading flow code%%'
"""
# What happens between one mark and the next, in this order. The texts are keys of the raw figures.
PARTS = (
    "a client connects, asks for the deployment and calls; up to the time that the run is given",
    "it writes the run and emits an event, the worker hears it",
    "polls, until the run is there",
    "the server makes the run Pending, the template forks",
    "the flow is loaded, the engine prepares",
    "the server makes the run Running",
    "the engine reads the run again; the first line",
)
TOTAL = "call to first line"


class Watched(Prefork):
    """The prefork worker, with a relay between it and the API."""

    def __init__(self, ground: Ground, relay: Relay) -> None:
        super().__init__(ground)
        self.relay = relay

    def environment(self) -> dict[str, str]:
        """Return the variables for the worker, with the relay as its API."""
        return {**super().environment(), "PREFECT_API_URL": f"{self.relay.address}/api"}


def marks(
    asked: float,
    created: float,
    loading: float,
    first: float,
    requests: Sequence[tuple[float, str]],
) -> list[float]:
    """Return when each of `PARTS` began, and when the last one ended, in seconds since the epoch.

    Args:
        asked: when the call to create the run was made.
        created: the time of creation that the server has stored.
        loading: when the process of the run began to load the flow.
        first: when the flow wrote its first line.
        requests: the requests of this run, each with its time.
    """
    pending, running, *_ = [at for at, name in requests if name == STATE]
    polls = [at for at, name in requests if POLL in name and created <= at < pending]
    read = next(at for at, name in requests if name == READ and at > running)
    return [asked, created, polls[0], pending, loading, running, read, first]


def measure(contender: Watched, runs: int) -> list[list[float]]:
    """Return how long each of `PARTS` took, in seconds, for each of `runs` starts.

    This starts the worker; the caller has to stop it.
    """
    contender.start()
    contender.run(Job.noop, 1, READY_SECONDS)
    contender.run(Job.noop, WARM_UPS, RUN_SECONDS)
    durations = []
    for _ in range(runs):
        time.sleep(1)
        before = len(contender.relay.requests)
        asked = time.time()
        ids = contender.submit(Job.noop, 1)
        [timing] = contender.wait(ids, RUN_SECONDS)
        assert timing.first_line
        loading = contender.ground.query("prefect", LOADING, ids)[0][0]
        seen = contender.relay.requests[before:]
        at = marks(asked, timing.created, loading, timing.first_line, seen)
        durations.append([after - mark for mark, after in pairwise(at)])
    return durations


def medians(durations: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return the median of each of `PARTS`, and that of the whole, in milliseconds."""
    parts = zip(PARTS, zip(*durations, strict=True), strict=True)
    return {
        **{part: 1000 * statistics.median(values) for part, values in parts},
        TOTAL: 1000 * statistics.median(sum(of_one) for of_one in durations),
    }


def main() -> None:
    """Measure and print the profile; add it to a file of raw figures if one is named."""
    parser = argparse.ArgumentParser(description="Profile the start of a run.")
    parser.add_argument("runs", type=int, nargs="?", default=RUNS, help="single runs [%(default)s]")
    parser.add_argument("--to", type=Path, metavar="FILE", help="raw figures to add the profile to")
    given = parser.parse_args()
    results = read(given.to) if given.to else None
    with ground() as shared, relaying(shared.values.stack_port) as relay:
        contender = Watched(shared, relay)
        contender.prepare()
        try:
            profile = medians(measure(contender, given.runs))
        finally:
            contender.stop()
    for part, value in profile.items():
        console.out.print(f"{value:6.0f} ms  {part}")
    if results:
        results.profile = profile
        results.write(given.to)


if __name__ == "__main__":
    main()
