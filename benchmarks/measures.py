"""The measures: what is asked of a contender that runs, and which figures it gives."""

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

Figures = tuple[str, list[float]]  # a measure's name with the values of one round

RUN_SECONDS = 120
# What took longer in one round is not taken again: the hours are better spent on others.
SLOW_SECONDS = 100
LONG_SECONDS = 1800
WARM_UPS = 2
HELD = 5
SETTLE_SECONDS = 3  # for what a process does after it has said that it is ready
READY_SECONDS = 180


class Measure(enum.StrEnum):
    """What can be asked for."""

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
    """Created to first line, in seconds."""
    return [each.first_line - each.created for each in timings if each.first_line]


def ready(contender: Contender) -> Iterator[Figures]:
    """From the start of the worker's process to the first line of a run, which waits for it."""
    began = time.time()
    contender.start()
    first = contender.run(Job.noop, 1, READY_SECONDS)[0].first_line
    assert first
    yield "ready", [first - began]


def start(contender: Contender, sizes: Sizes) -> Iterator[Figures]:
    """One run after the other on an idle stack."""
    contender.run(Job.noop, WARM_UPS, RUN_SECONDS)
    seconds: list[float] = []
    for _ in range(sizes.starts):
        # Any moment of the interval between two polls is as likely as another.
        time.sleep(0.5 + random.uniform(0, contender.poll_seconds))  # noqa: S311 - no secret
        seconds += first_lines(contender.run(Job.noop, 1, RUN_SECONDS))
    yield "start", seconds


def burst(contender: Contender, sizes: Sizes) -> Iterator[Figures]:
    """Many runs at once, until the last has ended."""
    timings = contender.run(Job.noop, sizes.burst, LONG_SECONDS)
    began = min(each.created for each in timings)
    ended = max(each.ended for each in timings if each.ended)
    yield "burst", [len(timings) * 60 / (ended - began)]


def steps(contender: Contender, sizes: Sizes) -> Iterator[Figures]:
    """One run of many small steps, and one of few large ones; the pick-up counts."""
    for job in (Job.light, Job.heavy):
        found = contender.run(job, 1, LONG_SECONDS)[0]
        assert found.ended
        yield f"steps-{job}", [found.ended - found.created]


def memory(contender: Contender, sizes: Sizes) -> Iterator[Figures]:
    """Idle, of workers and of servers, and what each running job adds to the workers."""
    time.sleep(SETTLE_SECONDS)
    idle = footprint(contender.workers).pss_bytes
    server = footprint(contender.servers).pss_bytes
    hold = contender.ground.hold
    shutil.rmtree(hold, ignore_errors=True)  # a round that failed may have left it, with marks
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
