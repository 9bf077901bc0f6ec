"""Thousands of runs that log and emit events: what hangs, what is left, what grows."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from benchmarks.contender import Contender, Job
from benchmarks.memory import Footprint, footprint, tree
from server.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# The second part is Python's warning of a fork in a process with threads, from 3.12 on: shown each
# time, and looked for in the log. As an error it would be lost: `os.fork` drops the exception.
WARNINGS = "error,always:This process (pid=:DeprecationWarning"
FAULTS = {
    "The template failed and is replaced": "templates failed",
    "is multi-threaded, use of": "forks with threads",
}
BATCH = 50
BATCH_SECONDS = 600
LONGEST_SECONDS = 7200
SETTLE_SECONDS = 15  # for children that have ended, and for connections that are kept a while
# What a worker may keep open for later.
SPARE_DESCRIPTORS = 10
SPARE_THREADS = 4
SPARE_SHARE = 0.1

Seen = dict[str, float | str]


@dataclass(frozen=True)
class Rest:
    """What there is while no run is."""

    worker: Footprint
    strays: int  # processes of the ground that are not below the worker, the server among them


def run(contender: Contender, count: int) -> Seen:
    """Start the worker and have `count` runs made in batches; what was seen, with a verdict.

    A run that does not end within `BATCH_SECONDS` hangs, and ends the soak. So do
    `LONGEST_SECONDS`: the verdict then says how far it came.
    """
    began = time.monotonic()
    logs = {each: each.stat().st_size for each in _logs(contender)}
    contender.python_warnings = WARNINGS
    contender.start()
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
    log = "".join(_text(each, logs.get(each, 0)) for each in _logs(contender))
    wrong = [problem] if problem else []
    return {
        "verdict": verdict(before, after, [*wrong, *faults(log)]),
        "runs": float(done),
        "Python": platform.python_version(),
        "PYTHONWARNINGS": WARNINGS,
        "minutes": (time.monotonic() - began) / 60,
        **{f"{name} before": float(value) for name, value in _shown(before).items()},
        **{f"{name} after": float(value) for name, value in _shown(after).items()},
    }


def faults(log: str) -> list[str]:
    """What the worker's log says that no run has noticed."""
    counts = {what: log.count(line) for line, what in FAULTS.items()}
    return [f"{count} {what}" for what, count in counts.items() if count]


def verdict(at_first: Rest, at_last: Rest, problems: Sequence[str] = ()) -> str:
    """`passed`, or everything that is wrong."""
    wrong = list(problems)
    before, after = at_first.worker, at_last.worker
    if after.processes > before.processes:
        wrong.append(f"{after.processes - before.processes} processes left")
    if at_last.strays > at_first.strays:
        wrong.append(f"{at_last.strays - at_first.strays} processes left outside of the worker")
    if after.descriptors > before.descriptors + SPARE_DESCRIPTORS:
        wrong.append(f"{after.descriptors - before.descriptors} descriptors left")
    if after.threads > before.threads + SPARE_THREADS:
        wrong.append(f"{after.threads - before.threads} threads left")
    grown = after.pss_bytes / before.pss_bytes - 1
    if grown > SPARE_SHARE:
        wrong.append(f"memory has grown by {grown:.0%}")
    return "; ".join(wrong) or "passed"


def _at_rest(contender: Contender) -> Rest:
    time.sleep(SETTLE_SECONDS)
    below = {each.pid for each in tree(contender.workers)}
    return Rest(footprint(contender.workers), len(contender.ground.running() - below))


def _logs(contender: Contender) -> list[Path]:
    return sorted(contender.ground.layout.logs.glob(f"{contender.name}-*.log"))


def _text(log: Path, offset: int) -> str:
    return log.read_bytes()[offset:].decode(errors="replace")


def _shown(found: Rest) -> dict[str, float]:
    counted = asdict(found.worker)
    megabytes = counted.pop("pss_bytes") / 2**20
    return {"memory, MB": megabytes, **counted, "processes elsewhere": found.strays}
