"""A time limit, which is checked between the steps of some work."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self, TypeVar

Item = TypeVar("Item")

SECONDS_PER_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time after which some work is given up."""

    timeout_mins: int
    ends_at_seconds: float
    clock: Callable[[], float]
    """Returns seconds from an arbitrary origin, and never goes back."""

    @classmethod
    def after(cls, timeout_mins: int, clock: Callable[[], float] = time.monotonic) -> Self:
        """Return the deadline of work that starts now.

        Raises:
            ValueError: `timeout_mins` is below 1.
        """
        if timeout_mins < 1:
            raise ValueError(f"timeout_mins: expected 1 or more, found {timeout_mins}")
        return cls(timeout_mins, clock() + timeout_mins * SECONDS_PER_MINUTE, clock)

    def check(self) -> None:
        """Check the time.

        Raises:
            TimeoutError: The deadline has passed.
        """
        if self.clock() >= self.ends_at_seconds:
            raise TimeoutError(
                f"given up after timeout_mins={self.timeout_mins}: "
                "allow more minutes, or export fewer tables or days"
            )

    def watch(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield `items`; check the deadline before each of them and after the last."""
        for item in items:
            self.check()
            yield item
        self.check()
