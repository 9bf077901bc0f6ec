"""The raw figures of a run of the benchmarks, which are kept in a JSON file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from server.errors import MistakeError

if TYPE_CHECKING:
    from pathlib import Path


class Sample(BaseModel):
    """The values of one contender for one measure in one round."""

    model_config = ConfigDict(frozen=True)

    contender: str
    measure: str
    round: int
    load: float  # the load average when they were taken
    values: list[float]  # seconds, runs per minute or bytes: see `benchmarks.columns`


class Results(BaseModel):
    """The raw figures of one run of the benchmarks."""

    taken: str  # time, ISO 8601
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
        """Return the values of all rounds."""
        return [
            value
            for sample in self.samples
            if (sample.contender, sample.measure) == (contender, measure)
            for value in sample.values
        ]

    def drop(self, contender: str, number: int) -> None:
        """Remove the values of a contender in one round, which is repeated."""
        self.samples = [
            sample
            for sample in self.samples
            if (sample.contender, sample.round) != (contender, number)
        ]

    def write(self, path: Path) -> None:
        """Write the file atomically: a reader finds either the old one or the new one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.new")
        new.write_text(self.model_dump_json(indent=1) + "\n")
        new.replace(path)


def read(path: Path) -> Results:
    """Read what `Results.write` has written.

    Raises:
        MistakeError: There is no such file, or it contains something else.
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
    """Return the smallest of `values` that 95 % of them do not exceed (nearest rank)."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]
