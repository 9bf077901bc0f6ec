"""Gives each fork random numbers of its own, since all forks copy the state of their template."""

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
def noting_seeds() -> Iterator[None]:
    """Remember the generators that get a seed meanwhile: they are meant to repeat themselves."""
    seed = random.Random.seed

    def noting(self: random.Random, *args: Any, **kwargs: Any) -> None:
        given = args[0] if args else kwargs.get("a")
        (_seeded.discard if given is None else _seeded.add)(id(self))
        seed(self, *args, **kwargs)

    patched = cast("Any", random.Random)
    patched.seed = noting
    try:
        yield
    finally:
        patched.seed = seed


def generators() -> tuple[random.Random, ...]:
    """Return the generators of this process that were made without a seed."""
    # Not by `isinstance`, which asks proxies of other libraries for their class; they then import
    # it.
    made = (each for each in gc.get_objects() if issubclass(type(each), random.Random))
    return tuple(each for each in made if id(each) not in _seeded)


def reseed(made: tuple[random.Random, ...]) -> None:
    """Seed the generators `made` again, and the default ones of `random`, NumPy and PyTorch."""
    random.seed()
    for each in made:
        each.seed()
    for name in ("numpy.random", "torch"):
        if module := sys.modules.get(name):
            module.seed()
