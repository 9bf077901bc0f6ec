"""Fixtures of the unit tests."""

import os

import pytest

from server import place
from server.settings import Settings


@pytest.fixture(autouse=True)
def _environment_without_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the machine has set for a stack of its own away from the tests."""
    ours = {*Settings.names(), place.VARIABLE}
    for name in list(os.environ):
        if name.upper() in ours:
            monkeypatch.delenv(name)
