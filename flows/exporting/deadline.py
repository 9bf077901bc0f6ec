"""A time limit that is checked between two steps of work."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self, TypeVar

Item = TypeVar("Item")

SECONDS_PER_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment at which work is given up."""

    timeout_mins: int
    ends_at_seconds: float
    clock: Callable[[], float]
    """Seconds, from any origin, never going back."""

    @classmethod
    def after(cls, timeout_mins: int, clock: Callable[[], float] = time.monotonic) -> Self:
        """The deadline of work that starts now. Raises ValueError below one minute."""
        if timeout_mins < 1:
            raise ValueError(f"timeout_mins: expected 1 or more, found {timeout_mins}")
        return cls(timeout_mins, clock() + timeout_mins * SECONDS_PER_MINUTE, clock)

    def check(self) -> None:
        """Raise TimeoutError once the deadline has passed."""
        if self.clock() >= self.ends_at_seconds:
            raise TimeoutError(
                f"given up after timeout_mins={self.timeout_mins}: "
                "allow more minutes, or export fewer tables or days"
            )

    def watch(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same items, checking the deadline before each and once after the last."""
        for item in items:
            self.check()
            yield item
        self.check()
