"""The measures: what a running contender has to do, and the figures that result."""

from __future__ import annotations

import enum
import random
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.contender import Contender, Job, Timing
from benchmarks.memory import footprint

if TYPE_CHECKING:
    from collections.abc import Iterator

Figures = tuple[str, list[float]]  # the name of a measure, and its values in one round

RUN_SECONDS = 120
# A measure that took longer than this in one round is not repeated, to save hours.
SLOW_SECONDS = 100
LONG_SECONDS = 1800
WARM_UPS = 2
HELD = 5
SETTLE_SECONDS = 3  # for what a process still does after it is ready
READY_SECONDS = 180


class Measure(enum.StrEnum):
    """The names of the measures."""

    start = "start"
    burst = "burst"
    steps = "steps"
    memory = "memory"
    ready = "ready"
    soak = "soak"
    profile = "profile"


@dataclass(frozen=True)
class Sizes:
    """How much is measured in each round."""

    rounds: int = 3
    starts: int = 10
    burst: int = 100
    soak: int = 2000


def first_lines(timings: list[Timing]) -> list[float]:
    """Return the seconds from the creation of each run to its first line."""
    return [timing.first_line - timing.created for timing in timings if timing.first_line]


def ready(contender: Contender) -> Iterator[Figures]:
    """Measure from the start of the worker's process to the first line of a run that waits."""
    began = time.time()
    contender.start()
    first = contender.run(Job.noop, 1, READY_SECONDS)[0].first_line
    assert first
    yield "ready", [first - began]


def start(contender: Contender, sizes: Sizes) -> Iterator[Figures]:
    """Start one run after another on an idle stack."""
    contender.run(Job.noop, WARM_UPS, RUN_SECONDS)
    seconds: list[float] = []
    for _ in range(sizes.starts):
        # Create the run at a random moment between two polls.
        time.sleep(0.5 + random.uniform(0, contender.poll_seconds))  # noqa: S311 - no secret
        seconds += first_lines(contender.run(Job.noop, 1, RUN_SECONDS))
    yield "start", seconds


def burst(contender: Contender, sizes: Sizes) -> Iterator[Figures]:
    """Create many runs at once, and wait until the last has ended."""
    timings = contender.run(Job.noop, sizes.burst, LONG_SECONDS)
    began = min(timing.created for timing in timings)
    ended = max(timing.ended for timing in timings if timing.ended)
    yield "burst", [len(timings) * 60 / (ended - began)]


def steps(contender: Contender, sizes: Sizes) -> Iterator[Figures]:
    """Time a run of many small steps and one of a few large steps, from their creation."""
    for job in (Job.light, Job.heavy):
        timing = contender.run(job, 1, LONG_SECONDS)[0]
        assert timing.ended
        yield f"steps-{job}", [timing.ended - timing.created]


def memory(contender: Contender, sizes: Sizes) -> Iterator[Figures]:
    """Measure the workers and servers at rest, and what each running job adds to the workers."""
    time.sleep(SETTLE_SECONDS)
    idle = footprint(contender.workers).pss_bytes
    server = footprint(contender.servers).pss_bytes
    hold = contender.ground.hold
    shutil.rmtree(hold, ignore_errors=True)  # a failed round may have left it, with files
    hold.mkdir(exist_ok=True)
    try:
        ids = contender.submit(Job.hold, HELD)
        contender.until("jobs that hold", lambda: len(list(hold.iterdir())) == HELD, RUN_SECONDS)
        time.sleep(SETTLE_SECONDS)
        held = footprint(contender.workers).pss_bytes
    finally:
        shutil.rmtree(hold, ignore_errors=True)
    contender.wait(ids, RUN_SECONDS)
    yield "memory-idle", [idle]
    yield "memory-server", [server]
    yield "memory-run", [(held - idle) / HELD]


EACH_ROUND = {
    Measure.start: start,
    Measure.memory: memory,
    Measure.steps: steps,
    Measure.burst: burst,
}
OF_ROUNDS = {*EACH_ROUND, Measure.ready}
