"""Reseeds the random generators of a fork, which has copied their state from its template."""

from __future__ import annotations

import gc
import random
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

_seeded: set[int] = set()


@contextmanager
def recording_seeds() -> Iterator[None]:
    """Record the generators that are given a seed in the block: they are meant to be repeatable."""
    seed = random.Random.seed

    def record(self: random.Random, *args: Any, **kwargs: Any) -> None:
        given = args[0] if args else kwargs.get("a")
        (_seeded.discard if given is None else _seeded.add)(id(self))
        seed(self, *args, **kwargs)

    patched = cast("Any", random.Random)
    patched.seed = record
    try:
        yield
    finally:
        patched.seed = seed


def generators() -> tuple[random.Random, ...]:
    """Return the generators of this process that were created without a seed."""
    # `isinstance` would ask the lazy proxies of other libraries for their class, which they then
    # import.
    existing = (each for each in gc.get_objects() if issubclass(type(each), random.Random))
    return tuple(each for each in existing if id(each) not in _seeded)


def reseed(unseeded: tuple[random.Random, ...]) -> None:
    """Seed the generators `unseeded` anew, and the default ones of `random`, NumPy and PyTorch."""
    random.seed()
    for generator in unseeded:
        generator.seed()
    for name in ("numpy.random", "torch"):
        if module := sys.modules.get(name):
            module.seed()
