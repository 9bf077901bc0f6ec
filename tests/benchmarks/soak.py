"""Thousands of runs that log and emit events: what hangs, what is left, what grows."""

from __future__ import annotations

import time
from dataclasses import asdict

from server.errors import StackError
from tests.benchmarks.contender import Contender, Job
from tests.benchmarks.memory import Footprint, footprint

BATCH = 50
BATCH_SECONDS = 600
LONGEST_SECONDS = 7200
SETTLE_SECONDS = 15  # for children that have ended, and for connections that are kept a while
# What a worker may keep open for later.
SPARE_DESCRIPTORS = 10
SPARE_THREADS = 4
SPARE_SHARE = 0.1

Seen = dict[str, float | str]


def run(contender: Contender, count: int) -> Seen:
    """Have `count` runs made in batches; what was seen, with a verdict.

    A run that does not end within `BATCH_SECONDS` hangs, and ends the soak. So do
    `LONGEST_SECONDS`: the verdict then says how far it came.
    """
    began = time.monotonic()
    contender.run(Job.noise, BATCH, BATCH_SECONDS)  # everything is imported and connected now
    before = _at_rest(contender)
    done, problem = 0, ""
    while done < count and not problem:
        size = min(BATCH, count - done)
        try:
            contender.run(Job.noise, size, BATCH_SECONDS)
        except StackError as error:
            problem = error.what
            break
        done += size
        if time.monotonic() - began > LONGEST_SECONDS:
            problem = f"out of time after {LONGEST_SECONDS} s"
    after = _at_rest(contender)
    return {
        "verdict": verdict(before, after, problem),
        "runs": float(done),
        "minutes": (time.monotonic() - began) / 60,
        **{f"{name} before": float(value) for name, value in _shown(before).items()},
        **{f"{name} after": float(value) for name, value in _shown(after).items()},
    }


def verdict(before: Footprint, after: Footprint, problem: str = "") -> str:
    """`passed`, or everything that is wrong."""
    wrong = [problem] if problem else []
    if after.processes > before.processes:
        wrong.append(f"{after.processes - before.processes} processes left")
    if after.descriptors > before.descriptors + SPARE_DESCRIPTORS:
        wrong.append(f"{after.descriptors - before.descriptors} descriptors left")
    if after.threads > before.threads + SPARE_THREADS:
        wrong.append(f"{after.threads - before.threads} threads left")
    grown = after.pss_bytes / before.pss_bytes - 1
    if grown > SPARE_SHARE:
        wrong.append(f"memory has grown by {grown:.0%}")
    return "; ".join(wrong) or "passed"


def _at_rest(contender: Contender) -> Footprint:
    time.sleep(SETTLE_SECONDS)
    return footprint(contender.workers)


def _shown(found: Footprint) -> dict[str, float]:
    counted = asdict(found)
    return {"memory, MB": counted.pop("pss_bytes") / 2**20, **counted}
