"""Runs thousands of jobs that log and emit events, and looks for what hangs, leaks or grows."""

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

# The second part concerns the warning of Python 3.12 and later about a fork in a process with
# threads. It is shown every time and then searched for in the log, since `os.fork` would drop it as
# an exception.
WARNINGS = "error,always:This process (pid=:DeprecationWarning"
FAULTS = {
    "The template failed and is replaced": "templates failed",
    "is multi-threaded, use of": "forks with threads",
}
BATCH = 50
BATCH_SECONDS = 600
LONGEST_SECONDS = 7200
SETTLE_SECONDS = 15  # until children are reaped and idle connections are closed
# What a worker may keep for later use.
SPARE_DESCRIPTORS = 10
SPARE_THREADS = 4
SPARE_SHARE = 0.1

Seen = dict[str, float | str]


@dataclass(frozen=True)
class Rest:
    """What is there while nothing runs."""

    worker: Footprint
    strays: int  # processes of the ground that do not descend from the worker, as the server


def run(contender: Contender, count: int) -> Seen:
    """Start the worker and create `count` runs in batches; return the observations and a verdict.

    The soak ends early if a run does not end within `BATCH_SECONDS`, which means that it hangs, or
    after `LONGEST_SECONDS`. The verdict then gives the reason.
    """
    began = time.monotonic()
    sizes = {log: log.stat().st_size for log in _logs(contender)}
    contender.python_warnings = WARNINGS
    contender.start()
    contender.run(Job.noise, BATCH, BATCH_SECONDS)  # then everything is imported and connected
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
    log = "".join(_text(path, sizes.get(path, 0)) for path in _logs(contender))
    wrong = [problem] if problem else []
    return {
        "verdict": verdict(before, after, [*wrong, *faults(log)]),
        "runs": float(done),
        "Python": platform.python_version(),
        "PYTHONWARNINGS": WARNINGS,
        "minutes": (time.monotonic() - began) / 60,
        **{f"{name} before": float(value) for name, value in _figures(before).items()},
        **{f"{name} after": float(value) for name, value in _figures(after).items()},
    }


def faults(log: str) -> list[str]:
    """Return the faults in the worker's log, which no run has noticed."""
    counts = {what: log.count(line) for line, what in FAULTS.items()}
    return [f"{count} {what}" for what, count in counts.items() if count]


def verdict(at_first: Rest, at_last: Rest, problems: Sequence[str] = ()) -> str:
    """Return `passed`, or everything that is wrong."""
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
    own = {process.pid for process in tree(contender.workers)}
    return Rest(footprint(contender.workers), len(contender.ground.running() - own))


def _logs(contender: Contender) -> list[Path]:
    return sorted(contender.ground.layout.logs.glob(f"{contender.name}-*.log"))


def _text(log: Path, offset: int) -> str:
    return log.read_bytes()[offset:].decode(errors="replace")


def _figures(rest: Rest) -> dict[str, float]:
    counts = asdict(rest.worker)
    megabytes = counts.pop("pss_bytes") / 2**20
    return {"memory, MB": megabytes, **counts, "processes elsewhere": rest.strays}
