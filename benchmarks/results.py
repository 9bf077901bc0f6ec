"""What a run of the benchmarks has measured, as it is kept in a JSON file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from server.errors import MistakeError

if TYPE_CHECKING:
    from pathlib import Path


class Sample(BaseModel):
    """What one contender gave for one measure in one round."""

    model_config = ConfigDict(frozen=True)

    contender: str
    measure: str
    round: int
    load: float  # the load average when it was taken
    values: list[float]  # seconds, runs per minute or bytes: see `benchmarks.columns`


class Results(BaseModel):
    """One run of the benchmarks, raw."""

    taken: str  # when, ISO 8601
    command: str
    machine: dict[str, str]
    settings: dict[str, int]
    titles: dict[str, str]  # contender -> what the tables call it
    versions: dict[str, dict[str, str]]  # contender -> package -> version
    samples: list[Sample] = []
    left_out: dict[str, str] = {}  # contender -> why
    soaks: dict[str, dict[str, float | str]] = {}  # contender -> what was seen
    profile: dict[str, float] = {}  # part of a start -> milliseconds, median

    def values(self, contender: str, measure: str) -> list[float]:
        """All rounds together."""
        found = [
            each for each in self.samples if (each.contender, each.measure) == (contender, measure)
        ]
        return [value for each in found for value in each.values]

    def drop(self, contender: str, number: int) -> None:
        """Forget what a contender gave in one round, which is made again."""
        self.samples = [
            each for each in self.samples if (each.contender, each.round) != (contender, number)
        ]

    def write(self, path: Path) -> None:
        """Write it whole: a reader finds the old file or the new one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.new")
        new.write_text(self.model_dump_json(indent=1) + "\n")
        new.replace(path)


def read(path: Path) -> Results:
    """What `Results.write` has written.

    Raises:
        MistakeError: there is no such file, or it holds something else.
    """
    try:
        return Results.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise MistakeError(
            f"{path} cannot be read",
            expected="a file that `scripts/stack bench` has written",
            found=str(error).splitlines()[0],
            do="scripts/stack bench",
        ) from error


def p95(values: list[float]) -> float:
    """The smallest of `values` that 95 % of them do not exceed (nearest rank)."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]
